"""Playing: a cause meets the real decision, and what comes of it is applied to the world."""

from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

from contracts.event import Envelope, Event
from contracts.inventory import StockReserved
from contracts.orders import ItemStep
from contracts.payments import PaymentFailed, PaymentHeld, PaymentVerified
from services.chassis.decisions import Cause, Never, NotYet, Refused, decide_each
from services.inventory.domain import StockMove
from services.orders.domain import (
    BlockShipping,
    Checkout,
    CreateOrder,
    Line,
    OrderFinal,
    PlaceCheckout,
    ReleaseCod,
    ReturnLines,
    Stage,
    TakeReturned,
)
from tests.support.saga.deciding import DECISIONS, Given, an_id
from tests.support.saga.plain import (
    plain_event,
    plain_order,
    ranked,
)
from tests.support.saga.world import (
    CHANNELS,
    CUSTOMER,
    FIRST_OF_PAYMENTS,
    HEARD,
    HEARERS,
    OF_PAYMENTS,
    ORDER,
    Config,
    Message,
    Pile,
    World,
    place_of,
    sku,
)

V = TypeVar("V", bound=Hashable)


def _brief(event: Event) -> str:
    names = ("hold_no", "finalized", "reason", "open", "cause", "outstanding_paisa")
    said = [f"{name} {value}" for name in names if (value := getattr(event, name, "any")) != "any"]
    return f"{event.TOPIC} ({', '.join(said)})" if said else event.TOPIC


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a decision came to, in plain form; `wrong` when it cannot happen unless one of us is wrong."""

    state: Any
    told: tuple[Message, ...] = ()
    done: tuple[Any, ...] = ()
    refused: bool = False
    wrong: str = ""


class Play:
    """One exploration's memory: every value once, every decision made once."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._values: dict[Hashable, Any] = {}
        self._messages: dict[tuple[Event, int], Message] = {}
        self._outcomes: dict[tuple[object, ...], Outcome] = {}
        self._ranked: dict[tuple[object, ...], tuple[Checkout, tuple[tuple[Message, ...], ...]]] = {}
        self._causes: list[Cause] = []
        """Kept, because a question knows them by their place in memory."""

    def one(self, value: V) -> V:
        """The one object that stands for this value."""
        return cast("V", self._values.setdefault(value, value))

    def say(self, event: Event, sequence: int) -> Message:
        """The one message of this event and sequence."""
        known = self._messages.get((event, sequence))
        if known is None:
            heard = event.model_copy().within(Envelope(sequence=sequence))
            known = self._messages[event, sequence] = Message(heard, sequence, event, _brief(event))
        return known

    def start(self) -> World:
        """The customer has placed the checkout; nobody has heard of it."""
        config = self.config
        method = "cod" if config.cod else "esewa"
        lines = tuple(Line(an_id(200 + number), sku(number), 1) for number in range(config.items))
        placed = PlaceCheckout(ORDER, CUSTOMER, method, 900, b"", lines)  # type: ignore[arg-type]
        outcome = self.decide("place", None, placed, None)
        checkout = self.one(replace(outcome.state, order_number="ORD-1"))
        world = World(checkout, shelf=(Pile(),) * config.items, cod_orders=int(config.cod))
        return self.tell(world, outcome.told)

    def decide(self, decision: str, state: Any, cause: Cause, given: Given) -> Outcome:  # noqa: ANN401
        """The real decision, made once for the same question."""
        question = (decision, id(state), id(cause), given)
        known = self._outcomes.get(question)
        if known is None:
            known = self._outcomes[question] = self._decided(decision, state, cause, given)
            self._causes.append(cause)
        return known

    def _decided(self, decision: str, state: Any, cause: Cause, given: Given) -> Outcome:  # noqa: ANN401
        _, plain, decide = DECISIONS[decision]
        known = {} if state is None else {cause.key: state}
        try:
            verdicts = decide_each([cause], known, lambda old, one: decide(old, one, given))
        except AssertionError as wrong:
            return Outcome(state, wrong=f"{decision} failed: {wrong}")
        (outcome,) = verdicts.outcomes
        if isinstance(outcome, Never | NotYet):
            return Outcome(state, wrong=f"alarm: {outcome.reason}")
        if isinstance(outcome, Refused):
            return Outcome(state, refused=True)
        after = self.one(plain(verdicts.changed[cause.key])) if verdicts.changed else state
        told = tuple(self.say(self._on_the_way(one.event), one.sequence) for one in verdicts.told)
        return Outcome(after, told, verdicts.done)

    def _on_the_way(self, event: Event) -> Event:
        event = plain_event(event)
        if self.config.refuse and isinstance(event, StockReserved):
            return event.model_copy(update={"total_paisa": event.total_paisa + 1})
        return event

    def step(self, world: World, decision: str, cause: Cause, given: Given = None) -> World:
        """The world after this decision; the same object when nothing came of it."""
        part = DECISIONS[decision][0]
        before = getattr(world, part)
        outcome = self.decide(decision, before, cause, given)
        if outcome.wrong:
            return world._replace(broken=outcome.wrong)
        if outcome.state is before and not outcome.told and not outcome.done:
            return world
        moved = world._replace(**{part: outcome.state})
        if moved.intent is not None and len(moved.intent.attempts) > len(moved.gateway):
            moved = moved._replace(gateway=(*moved.gateway, "open"))
        for effect in outcome.done:
            moved = self._apply(moved, effect)
        return self.tell(moved, outcome.told)

    def tell(self, world: World, told: tuple[Message, ...]) -> World:
        """On their way to all who hear of them."""
        channels, due = list(world.channels), world.rollup_due
        for message in told:
            for number in HEARERS.get(type(message.event), ()):
                unnumbered = message if number in OF_PAYMENTS else self.say(message.plain, 0)
                channels[number] += (unnumbered,)
            due = due or isinstance(message.event, ItemStep)
        return world._replace(channels=tuple(channels), rollup_due=due)

    def hear(self, world: World, number: int, *, late: bool = False) -> World:
        """The next message of this channel reaches its hearer."""
        service, kind = CHANNELS[number]
        message, *rest = world.channels[number]
        taken = world._replace(channels=_put(world.channels, number, tuple(rest)))
        after = self.step(taken, HEARD[service, kind], message.event, self._given(world, kind, late=late))
        if isinstance(message.event, PaymentHeld) and message.event.reason == "reversed":
            after = after._replace(reversal_heard=message.event.open)
        if isinstance(message.event, PaymentFailed) and after.checkout.stage in {
            Stage.AWAITING_PAYMENT,
            Stage.VERIFYING,
        }:
            after = after._replace(broken="failed is ignored: the hold lives on until the hard limit")
        return after

    def _given(self, world: World, kind: type[Event], *, late: bool) -> Given:
        if kind is StockReserved:
            return world.phone != "unknown"
        if kind is PaymentVerified:
            return late
        return tuple(pile.on_hand - pile.reserved for pile in world.shelf)

    def settled(self, world: World) -> World:
        """The plain form of a whole world."""
        question = (id(world.checkout), world.channels[FIRST_OF_PAYMENTS:])
        known = self._ranked.get(question)
        if known is None:
            ranks = ranked(world, self.config, self.say, self.one)
            known = self._ranked[question] = (ranks.checkout, ranks.channels[FIRST_OF_PAYMENTS:])
        checkout, of_payments = known
        if checkout is world.checkout and of_payments == question[1]:
            return world
        return world._replace(checkout=checkout, channels=world.channels[:FIRST_OF_PAYMENTS] + of_payments)

    # ----- what a decision brings about beside the state itself, as the stores write it

    def _apply(self, world: World, effect: object) -> World:
        after = world
        match effect:
            case CreateOrder(order=order):
                after = world._replace(order=self.one(plain_order(order)))
            case BlockShipping(blocked=blocked) if world.order is not None:
                after = world._replace(order=self.one(replace(world.order, blocked=blocked)))
            case TakeReturned():
                after = world._replace(in_cart=False)
            case ReturnLines():
                twice = "the lines go back into the cart a second time" if world.in_cart else ""
                after = world._replace(in_cart=True, broken=world.broken or twice)
            case ReleaseCod():
                after = world._replace(cod_orders=world.cod_orders - 1)
            case OrderFinal() if world.checkout.cod_active:
                checkout = self.one(replace(world.checkout, cod_active=False))
                after = world._replace(checkout=checkout, cod_orders=world.cod_orders - 1)
            case StockMove():
                after = world._replace(shelf=_moved(world.shelf, effect))
            case _:
                """Rows of histories: nobody decides by them."""
        return after


def _moved(shelf: tuple[Pile, ...], move: StockMove) -> tuple[Pile, ...]:
    number = place_of(move.sku)
    pile = shelf[number]
    after = Pile(pile.on_hand + move.on_hand, pile.reserved + move.reserved, pile.rival)
    return _put(shelf, number, after)


T = TypeVar("T")


def _put(values: tuple[T, ...], number: int, value: T) -> tuple[T, ...]:
    return (*values[:number], value, *values[number + 1 :])
