"""What must hold at any moment: the promises that one snapshot of one database can break, judged at once."""

import time
from collections.abc import Mapping
from contextlib import AsyncExitStack

import asyncpg

from infra.audit.promises import PROMISES, Promise, judge
from infra.audit.report import Judged, Report
from infra.audit.world import World, connections


def of_a_moment(one: Promise) -> bool:
    """Whether no quiet, no broker and no other database is needed to judge it."""
    return one.kind == "A" and len(one.needs) == 1


async def always(databases: Mapping[str, str]) -> Report:
    """Judge them over these databases (service -> DSN), also while faults strike; raises when one is away."""
    async with connections(databases) as opened:
        return await judge_now(opened)


async def judge_now(opened: Mapping[str, asyncpg.Connection]) -> Report:
    """The same over connections that are there already, for whoever looks again and again."""
    began = time.monotonic()
    async with AsyncExitStack() as after:
        for connection in opened.values():
            snapshot = connection.transaction(isolation="repeatable_read", readonly=True)
            await after.enter_async_context(snapshot)
        world = World(opened)
        judged = tuple([Judged(one, await judge(one, world)) for one in PROMISES if of_a_moment(one)])
    return Report(judged, (), time.monotonic() - began)
