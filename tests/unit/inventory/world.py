"""Inventory without a database: the pure decisions, a shelf and a ledger, and what must hold of them."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from contracts.event import Event
from contracts.orders import ItemCancelled, OrderCancelled, OrderExpired, OrderPlaced, OrderRevived
from services.chassis.decisions import Decision, Verdicts, decide_each
from services.inventory import domain
from services.inventory.domain import HoldStatus, Order, Shelf, StockMove
from tests.unit.inventory.examples import a_shelf


@dataclass(slots=True)
class World:
    """The states of all orders, the stock, and the ledger since it was filled."""

    opening: Mapping[str, int]
    orders: dict[UUID, Order] = field(default_factory=dict)
    on_hand: Counter[str] = field(default_factory=Counter)
    reserved: Counter[str] = field(default_factory=Counter)
    ledger: list[StockMove] = field(default_factory=list)
    told: list[tuple[UUID, int, Event]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.on_hand.update(self.opening)

    @staticmethod
    def decide(order: Order | None, event: Any, shelf: Shelf) -> Decision[Order]:  # noqa: ANN401 - any event heard
        """The decision this event gets, as the service's actions choose it."""
        match event:
            case OrderPlaced() | OrderRevived():
                return domain.reserve(order, event, shelf)
            case OrderExpired() | OrderCancelled():
                return domain.end(order, event)
            case ItemCancelled():
                return domain.return_item(order, event)
            case _:
                return domain.sell(order, event)

    def hear(self, *events: Event) -> Verdicts[Order]:
        """One batch."""
        shelf = a_shelf(**{sku: self.on_hand[sku] - self.reserved[sku] for sku in self.opening})
        verdicts: Verdicts[Order] = decide_each(events, self.orders, domain.in_turn(shelf, self.decide))
        self.orders.update(verdicts.changed)
        for move in verdicts.done:
            self.on_hand[move.sku] += move.on_hand
            self.reserved[move.sku] += move.reserved
        self.ledger += [move for move in verdicts.done if move.on_hand]
        self.told += [(one.event.key, one.sequence, one.event) for one in verdicts.told]
        return verdicts

    def check(self) -> None:
        """STK-1 to STK-5 and the counter of events."""
        live = Counter[str]()
        for order in self.orders.values():
            assert sum(hold.status is HoldStatus.HELD for hold in order.holds) <= 1
            assert [hold.hold_no for hold in order.holds] == sorted({hold.hold_no for hold in order.holds})
            for hold in order.holds:
                assert hold.lines or hold.status in {HoldStatus.ENDED, HoldStatus.REFUSED}
                if hold.status is HoldStatus.HELD:
                    live.update({line.sku: line.quantity for line in hold.lines})
        moved = Counter[str]()
        for move in self.ledger:
            moved[move.sku] += move.on_hand
        for sku, opening in self.opening.items():
            assert 0 <= self.reserved[sku] <= self.on_hand[sku], sku
            assert self.reserved[sku] == live[sku], sku
            assert self.on_hand[sku] == opening + moved[sku], sku
        for key, order in self.orders.items():
            sequences = [sequence for told, sequence, _ in self.told if told == key]
            assert sequences == list(range(1, order.seq + 1))
