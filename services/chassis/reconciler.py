"""Reconcilers: functions that ask "what should have moved by now?" and call the action the event would have called."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from services.chassis.db import Tx

Heal = Callable[[Tx, datetime], Awaitable[int]]


@dataclass(frozen=True, slots=True)
class Reconciler:
    """One healing duty: how often it looks (seconds, jittered) and what it does; it returns how many it healed."""

    name: str
    every_s: float
    heal: Heal


def every(*, seconds: float) -> Callable[[Heal], Reconciler]:
    """Run the function about every so many seconds, in one process at a time, in a transaction of its own."""

    def register(heal: Heal) -> Reconciler:
        return Reconciler(heal.__name__, seconds, heal)

    return register
