"""Exploring: every world that can be reached, breadth first, so that stories are as short as can be."""

import gc
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.support.saga.checks import always, at_rest
from tests.support.saga.moves import moves
from tests.support.saga.playing import Play
from tests.support.saga.world import Config, World, key_of

MOST_WORLDS = 3_000_000


@dataclass(slots=True)
class Report:
    """What an exploration found: for each broken promise the shortest story that breaks it."""

    config: Config
    worlds: int = 0
    moves: int = 0
    seconds: float = 0.0
    ends: Counter[str] = field(default_factory=Counter)
    broken: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __str__(self) -> str:
        ends = ", ".join(f"{stage} {count}" for stage, count in sorted(self.ends.items()))
        size = f"{self.worlds:,} worlds, {self.moves:,} moves, {self.seconds:.1f} s"
        stories = [_told(promise, story) for promise, story in self.broken.items()]
        return "\n".join([f"{self.config.name}: {size}; ends: {ends}", *stories])


def _told(promise: str, story: Sequence[str]) -> str:
    steps = "\n".join(f"  {number:>3}. {step}" for number, step in enumerate(story, 1))
    return f"BROKEN: {promise}\n{steps}"


def explore(config: Config, *, first: bool = False) -> Report:
    """Every interleaving of this configuration; with `first`, only until a promise is broken."""
    gc.disable()  # nothing here refers back to itself, and looking for that takes a third of the time
    try:
        return _Exploration(config).run(first=first)
    finally:
        gc.enable()


class _Exploration:
    def __init__(self, config: Config) -> None:
        self.play = Play(config)
        self.report = Report(config)
        self.places: dict[tuple[object, ...], int] = {}
        self.worlds: list[World | None] = []
        self.parents: list[tuple[int, str]] = []
        self.edges: list[tuple[int, ...]] = []
        """By world, what follows by itself: for the search for circles."""
        self.dead_ends: set[int] = set()

    def run(self, *, first: bool) -> Report:
        began = time.process_time()
        self._reach(self.play.settled(self.play.start()), (-1, "the checkout is placed"))
        place = 0
        while place < len(self.worlds) and not (first and self.report.broken):
            self._look(place)
            place += 1
            assert place < MOST_WORLDS, f"{self.report.config.name} has no end"
        if not first and (circle := _circle(self.edges)) is not None:
            self.report.broken["what follows by itself goes round in a circle"] = self._story(circle)
        self.report.worlds, self.report.seconds = len(self.worlds), time.process_time() - began
        return self.report

    def _look(self, place: int) -> None:
        """All that can follow this world; behind a broken promise nobody looks, so stories stay short."""
        world = self.worlds[place]
        assert world is not None
        self.worlds[place] = None
        following: list[int] = []
        if place not in self.dead_ends:
            for label, must, after in moves(self.play, world):
                self.report.moves += 1
                reached = self._reach(after, (place, label))
                if must and reached != place:
                    following.append(reached)
            if not following:
                self.report.ends[world.checkout.stage.value] += 1
                for promise in at_rest(world, self.play.config):
                    self._note(promise, place)
        self.edges.append(tuple(following))

    def _reach(self, world: World, parent: tuple[int, str]) -> int:
        key = key_of(world)
        known = self.places.get(key)
        if known is not None:
            return known
        place = self.places[key] = len(self.worlds)
        self.worlds.append(world)
        self.parents.append(parent)
        for promise in always(world, self.play.config):
            self.dead_ends.add(place)
            self._note(promise, place)
        return place

    def _note(self, promise: str, place: int) -> None:
        if promise not in self.report.broken:
            self.report.broken[promise] = self._story(place)

    def _story(self, place: int) -> tuple[str, ...]:
        steps: list[str] = []
        while place >= 0:
            place, step = self.parents[place]
            steps.append(step)
        return tuple(reversed(steps))


def _circle(edges: Sequence[Sequence[int]]) -> int | None:
    """A world from which obligatory moves lead back to it: none, when all can be taken away from the end."""
    left = [len(following) for following in edges]
    before: list[list[int]] = [[] for _ in edges]
    for place, following in enumerate(edges):
        for reached in following:
            before[reached].append(place)
    done = [place for place, count in enumerate(left) if not count]
    for place in done:
        for earlier in before[place]:
            left[earlier] -= 1
            if not left[earlier]:
                done.append(earlier)
    return next((place for place, count in enumerate(left) if count), None)
