"""What a gateway's answer about one attempt comes to: one closed set of verdicts for every gateway."""

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Paid:
    """The gateway holds this money for exactly our attempt: merchant, reference and amount agree."""

    amount_paisa: int
    txn_id: str


@dataclass(frozen=True, slots=True)
class InFlight:
    """The payer has started and not finished."""


@dataclass(frozen=True, slots=True)
class Hold:
    """The gateway itself does not know yet."""


@dataclass(frozen=True, slots=True)
class NotSeen:
    """The gateway knows nothing of it; no failure while the attempt is young."""


@dataclass(frozen=True, slots=True)
class Declined:
    """Cancelled at the gateway; if we had seen the money before, it was taken back."""


@dataclass(frozen=True, slots=True)
class Refunded:
    """All of it went back to the payer."""


@dataclass(frozen=True, slots=True)
class PartiallyRefunded:
    """A part went back to the payer; the gateway does not say how much."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Paid, but not what we asked for; with amount and id it is money of this attempt, else not ours."""

    detail: str
    amount_paisa: int | None = None
    txn_id: str | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """No usable answer: it changes no business state, it only brings another question."""

    reason: str


Verdict: TypeAlias = (
    Paid | InFlight | Hold | NotSeen | Declined | Refunded | PartiallyRefunded | Mismatch | Unknown
)
