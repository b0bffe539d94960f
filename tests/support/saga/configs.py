"""What is explored: small configurations every time, big ones on demand, all of it at random."""

from typing import Any, Final

from tests.support.saga.world import Config

ENDS: Final = frozenset({"cancelled", "confirmed", "expired", "payment_failed", "refunded", "rejected"})
UNCONTESTED: Final = ENDS - {"rejected"}
UNSALEABLE: Final = ENDS - {"confirmed"}
CASH: Final = frozenset({"cancelled", "confirmed", "expired", "rejected"})


def lean(name: str, **may: Any) -> Config:  # noqa: ANN401 - whatever may happen
    """Without what every story has beside its subject: somebody else who buys, orders that answer late."""
    return Config(name, rival=False, unanswered=False, **may)


SMALL: Final[tuple[tuple[Config, frozenset[str]], ...]] = (
    (Config("plain"), ENDS),
    (lean("soft decline, returns", soft=True, returns=True), UNCONTESTED),
    (lean("pending", pending=True), UNCONTESTED),
    (lean("pending, the hard limit does not wait", pending=True, caught_up=False), UNCONTESTED),
    (Config("mismatch", mismatch=True), ENDS),
    (lean("mismatch, returns", mismatch=True, returns=True), UNCONTESTED),
    (lean("mismatch, pending", mismatch=True, pending=True), UNCONTESTED),
    (lean("a payment that cannot be ours", odd=True), UNCONTESTED),
    (lean("any reversal, mismatch", any_reversal=True, mismatch=True), UNCONTESTED),
    (Config("the domain refuses Fin", refuse=True), UNSALEABLE),
    (lean("1 item to the end", steps=True), UNCONTESTED),
    (Config("cash, 1 item to the end", cod=True, steps=True), CASH),
    (
        Config(
            "cash, 2 items, a crash after the phone", cod=True, steps=True, items=2, lost_confirmation=True
        ),
        CASH,
    ),
    (Config("cash, the domain refuses Fin", cod=True, refuse=True), CASH - {"confirmed"}),
    (lean("2 attempts", attempts=2), UNCONTESTED),
)
"""Each with the stages in which its stories end: one that is missing means that something was not tried."""

BIG: Final[tuple[tuple[Config, frozenset[str]], ...]] = (
    (Config("soft decline, returns, contested", soft=True, returns=True), ENDS),
    (Config("pending, contested", pending=True), ENDS),
    (Config("1 item to the end, contested", steps=True), ENDS),
    (Config("reversal, contested", reversal=True), ENDS),
    (lean("any reversal, mismatch, pending", any_reversal=True, mismatch=True, pending=True), UNCONTESTED),
    (lean("odd, mismatch, returns", odd=True, mismatch=True, returns=True), UNCONTESTED),
    (lean("mismatch, pending, returns", mismatch=True, pending=True, returns=True), UNCONTESTED),
    (lean("reversal, 1 item to the end", reversal=True, steps=True), UNCONTESTED),
    (lean("2 items to the end", steps=True, items=2), UNCONTESTED),
    (Config("2 attempts, contested", attempts=2), ENDS),
    (lean("2 attempts, pending", attempts=2, pending=True), UNCONTESTED),
    (lean("2 attempts, mismatch", attempts=2, mismatch=True), UNCONTESTED),
)
"""Up to a million worlds and a few minutes each."""

_ALL: Final[dict[str, Any]] = {
    "attempts": 2,
    "soft": True,
    "returns": True,
    "pending": True,
    "mismatch": True,
    "reversal": True,
    "odd": True,
    "steps": True,
}
EVERYTHING: Final = (
    Config("everything, 2 items", items=2, **_ALL),
    Config("everything, the hard limit does not wait", caught_up=False, **_ALL),
    Config("everything, the domain refuses Fin", refuse=True, **_ALL),
)
"""Too many worlds to see each: for wandering."""
