"""Wandering: random stories of worlds that are too many to see each one, the same ones every time."""

import random
import time
from typing import Final

from tests.support.saga.checks import always, at_rest
from tests.support.saga.exploring import Report
from tests.support.saga.moves import Move, moves
from tests.support.saga.playing import Play
from tests.support.saga.world import Config, World, key_of

LONGEST: Final = 400
SELDOM: Final = ("the customer cancels", "orders' timer", "somebody else buys")
"""They end a story early; most of the time something else happens."""


def wander(config: Config, walks: int, *, seed: int = 1) -> Report:
    """So many walks from the placed checkout to a world at rest, with every promise looked at on the way."""
    chance, play, report = random.Random(seed), Play(config), Report(config)
    began, seen = time.process_time(), set[object]()
    for _ in range(walks):
        _walk(play, chance, report, seen)
    report.worlds, report.seconds = len(seen), time.process_time() - began
    return report


def _walk(play: Play, chance: random.Random, report: Report, seen: set[object]) -> None:
    world, story = play.settled(play.start()), ["the checkout is placed"]
    eager = chance.choice((0.15, 0.5, 0.9))
    for _ in range(LONGEST):
        possible = list(moves(play, world))
        if not any(move.must for move in possible):
            _rest(play, world, report, story)
            if not possible or chance.random() > eager:
                return
        move = _chosen(possible, chance, eager)
        if move.label.startswith(SELDOM) and chance.random() < 0.93:
            continue
        world, story = move.after, [*story, move.label]
        seen.add(key_of(world))
        report.moves += 1
        if broken := list(always(world, play.config)):
            _note(report, broken, story)
            return
    _note(report, [f"no rest after {LONGEST} moves"], story)


def _chosen(possible: list[Move], chance: random.Random, eager: float) -> Move:
    must = [move for move in possible if move.must]
    may = [move for move in possible if not move.must]
    return chance.choice(may if may and (not must or chance.random() < eager * 0.4) else must)


def _rest(play: Play, world: World, report: Report, story: list[str]) -> None:
    report.ends[world.checkout.stage.value] += 1
    _note(report, list(at_rest(world, play.config)), story)


def _note(report: Report, broken: list[str], story: list[str]) -> None:
    for promise in broken:
        if promise not in report.broken or len(report.broken[promise]) > len(story):
            report.broken[promise] = tuple(story)
