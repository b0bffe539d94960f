"""The registry of promises: what each says, when it holds, and the function that looks for violations."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from infra.audit.world import World

Kind: TypeAlias = Literal["A", "Q"]
"""A: always, in any snapshot. Q: once the system is quiet."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One way in which a promise is broken, and everything that breaks it so."""

    ids: tuple[str, ...]
    what: str


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check looked at and what it found; `skipped` says why it could not look at all."""

    examined: int
    violations: tuple[Violation, ...] = ()
    note: str = ""
    skipped: str = ""

    @property
    def count(self) -> int:
        """How many things break the promise."""
        return sum(len(one.ids) for one in self.violations)


@dataclass(slots=True)
class Found:
    """Violations while they are being collected, by what is wrong."""

    by_what: dict[str, list[str]] = field(default_factory=dict)

    def add(self, what: str, *parts: object) -> None:
        """One more thing is wrong in this way; its id is made of these parts."""
        self.by_what.setdefault(what, []).append(" ".join(map(str, parts)))

    def finding(self, examined: int, note: str = "") -> Finding:
        violations = tuple(Violation(tuple(ids), what) for what, ids in self.by_what.items())
        return Finding(examined, violations, note)


Check: TypeAlias = Callable[[World], Awaitable[Finding]]


@dataclass(frozen=True, slots=True)
class Promise:
    """`needs` are the services whose databases the check reads."""

    id: str
    kind: Kind
    says: str
    needs: tuple[str, ...]
    check: Check


PROMISES: Final[list[Promise]] = []
"""All promises, each registered by the module of its family."""


def promise(id: str, *, kind: Kind, says: str, needs: tuple[str, ...] = ()) -> Callable[[Check], Check]:  # noqa: A002 - it is one
    """Registers a check under its promise."""

    def register(check: Check) -> Check:
        PROMISES.append(Promise(id, kind, says, needs, check))
        return check

    return register


async def judge(one: Promise, world: World) -> Finding:
    """What the check finds, unless something it needs was not given."""
    if missing := [service for service in one.needs if service not in world.databases]:
        return Finding(0, skipped=f"no database of {', '.join(missing)} was given")
    return await one.check(world)
