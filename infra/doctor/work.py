"""What the services would say of their work: things past their time that neither event nor duty has moved."""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

from infra.asking import UNREACHABLE, why
from infra.doctor.findings import Finding, Patient
from services.chassis.business import DAY, MOST, newest_since
from services.chassis.db import Tx
from services.inventory.reconcilers import OLD_AFTER
from services.inventory.store import health as of_inventory
from services.orders.health import longest
from services.orders.settings import OrdersSettings
from services.orders.store import health as of_orders
from services.payments import health as of_payments
from services.payments.settings import PaymentsSettings

ADMIN: Final = "/v1/admin"
LATE: Final = (
    "`kb heal --list` tells of the duty that should have moved them, `kb find` why one of them waits"
)
PAYMENTS: Final = {
    "unanswered": (
        "payments are proven, and orders has answered with no order and no cancellation",
        "`kb report orphans` names them, with --repair whoever has decided tells again",
    ),
    "windows": ("payment windows should have closed", f"`kb heal close_windows --dry-run`; {LATE}"),
    "attempts": (
        "attempts are due, and nobody asks the gateway about them",
        "is payments up, does the gateway answer (`kb_gateway_broken`)? The poller goes on by itself then",
    ),
    "refunds": (
        "refunds wait for a person for more than a day",
        f"GET {ADMIN}/payments/refunds names them; send the money, then say so with its reference",
    ),
    "cases": (
        "review cases have been open for more than a day",
        f"GET {ADMIN}/payments/cases names them; `kb find` with the id of one tells its story",
    ),
}


async def work(patient: Patient) -> list[Finding]:
    """What each service that answers would call stuck, by the time limits of this environment."""
    found: list[Finding] = []
    for service, session in patient.asked.sessions.items():
        try:
            async with session.transaction(readonly=True):
                found += await ASK[service](Tx(session)) if service in ASK else []
        except UNREACHABLE as error:
            patient.asked.silent.setdefault(service, why(error))
    return found


async def _orders(tx: Tx) -> list[Finding]:
    limits = OrdersSettings(database_url="", address_key_file=Path()).limits
    stuck = await of_orders.stuck_checkouts(tx, longest(limits), MOST)
    empty = await of_orders.orders_without_items(tx, newest_since(await tx.now() - DAY), MOST)
    found = [
        Finding(
            f"{count} checkouts are `{stage}` for longer than that may take",
            f"GET {ADMIN}/orders?stage={stage} names them; {LATE}",
        )
        for stage, count in stuck.items()
        if count
    ]
    if empty:
        found.append(Finding(f"{empty} orders of the last day have no items", "`kb report empty-orders`"))
    return found


async def _payments(tx: Tx) -> list[Finding]:
    settings = PaymentsSettings(database_url="", environment="development")
    stuck: Mapping[str, int] = await of_payments.stuck(tx, await tx.now(), settings)
    return [
        Finding(f"{count} {PAYMENTS[kind][0]}", PAYMENTS[kind][1]) for kind, count in stuck.items() if count
    ]


async def _inventory(tx: Tx) -> list[Finding]:
    count = await of_inventory.old(tx, await tx.now() - OLD_AFTER, MOST)
    do = "`kb report orphans` names them: orders has ended their checkouts, or knows nothing of them"
    return [Finding(f"{count} holds keep stock for longer than any checkout takes", do)] if count else []


ASK: Final[Mapping[str, Callable[[Tx], Awaitable[list[Finding]]]]] = {
    "orders": _orders,
    "payments": _payments,
    "inventory": _inventory,
}
