"""What has been decided is told once more, for whoever missed it: nothing but the event's number is new."""

from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from contracts.event import Envelope
from contracts.orders import OrderCancelled
from services.chassis.decisions import Changed, Decision, Refused
from services.orders.domain.checkout import Checkout, Stage
from services.orders.domain.moves import expired_of, finalized_of
from services.orders.domain.order import Order

CALLED_OFF: Final = frozenset({Stage.CANCELLED, Stage.REFUND_PENDING, Stage.REFUNDED})
UNPAID: Final = frozenset({Stage.EXPIRED, Stage.PAYMENT_FAILED})


@dataclass(frozen=True, slots=True)
class TellAgain:
    """Somebody acts as if they had never heard how this checkout ended."""

    order_id: UUID
    envelope: Envelope = field(default_factory=Envelope)

    @property
    def key(self) -> UUID:
        return self.order_id


def tell_order_again(order: Order | None, _: TellAgain) -> Decision[Order]:
    """The order exists: its hold is a sale, its payment is answered."""
    if order is None:
        return Refused("NOT_FOUND", "There is no such order.")
    if not order.items:
        return Refused("ORDER_EMPTY", "An order without items cannot be told.")
    return Changed(order, (finalized_of(order),))


def tell_checkout_again(checkout: Checkout | None, _: TellAgain) -> Decision[Checkout]:
    """The checkout ended without an order: its hold ends, and once called off, its money goes back."""
    if checkout is None:
        return Refused("NOT_FOUND", "There is no such checkout.")
    if checkout.stage in CALLED_OFF:
        told = OrderCancelled(order_id=checkout.order_id, finalized=False, reason="told_again")
        return Changed(checkout, (told,))
    if checkout.stage in UNPAID:
        return Changed(checkout, (expired_of(checkout),))
    return Refused("CHECKOUT_OPEN", f"It is {checkout.stage}: nothing was decided that could be told again.")
