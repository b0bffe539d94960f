"""Decisions of the pure domain, and how a whole list of causes is decided one after the other."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, ParamSpec, Protocol, Self, TypeAlias, TypeVar
from uuid import UUID

from contracts.event import Envelope, Event

P = ParamSpec("P")
T = TypeVar("T")

if TYPE_CHECKING:
    # Checked like dataclasses.replace, which it stands for.
    altered = replace
else:

    def altered(state, /, **fields):  # noqa: ANN001, ANN003, ANN201 - typed above
        """The state with these fields changed: `dataclasses.replace` without running the initialiser.

        For a frozen dataclass without slots it copies the attributes at once: 1 us where a state of 27
        fields took 18, several times an order.
        """
        if not hasattr(state, "__dict__"):
            return replace(state, **fields)
        copy = object.__new__(type(state))
        values = copy.__dict__
        values.update(state.__dict__)
        values.update(fields)
        assert len(values) == len(state.__dict__), fields.keys() - state.__dict__.keys()
        return copy


if TYPE_CHECKING:

    def restored(kind: Callable[P, T], /, *args: P.args, **fields: P.kwargs) -> T:
        """Checked like calling the class."""
else:

    def restored(kind, /, **fields):  # noqa: ANN001, ANN003, ANN201 - typed above
        """A value as it was saved, every field named: a third of the cost of a frozen class's initialiser."""
        made = object.__new__(kind)
        made.__dict__.update(fields)
        assert len(fields) == len(kind.__dataclass_fields__), kind.__dataclass_fields__.keys() ^ fields.keys()
        return made


class Cause(Protocol):
    """Whatever makes an aggregate move: an event, a command, a reconciler's finding."""

    @property
    def key(self) -> UUID:
        """The aggregate it concerns."""

    @property
    def envelope(self) -> Envelope:
        """Its place in the flow: id, correlation and trace are handed on to what it causes."""


class Sequenced(Protocol):
    """An aggregate's state: a frozen dataclass without slots that counts the events told in `seq`."""

    @property
    def seq(self) -> int:
        """The `ce_sequence` of the last event told."""


S = TypeVar("S", bound=Sequenced)


@dataclass(frozen=True, slots=True)
class Changed(Generic[S]):
    """The new state, the facts to tell, and further rows to write (`do`: the service's own values)."""

    state: S
    tell: tuple[Event, ...] = ()
    do: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Unchanged:
    """Already known, or of no consequence: done, quietly."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Not allowed now: HTTP 409 with this code; an event is counted and not retried."""

    code: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class NotYet:
    """Another service's data is missing: the key waits for a retry."""

    reason: str


@dataclass(frozen=True, slots=True)
class Never:
    """Cannot happen unless one of us is wrong: parked as dead, with its trace, and somebody is paged."""

    reason: str


Decision: TypeAlias = Changed[S] | Unchanged | Refused | NotYet | Never


class Outgoing(NamedTuple):
    """A fact ready for the outbox: its `ce_sequence`, and the cause whose flow and trace it continues."""

    event: Event
    sequence: int
    cause: Envelope = Envelope()


@dataclass(frozen=True, slots=True)
class Verdicts(Generic[S]):
    """What a list of causes came to: one outcome per cause, and what to save and to tell for all of them."""

    outcomes: tuple[Decision[S], ...] = ()
    changed: Mapping[UUID, S] = field(default_factory=dict)
    told: tuple[Outgoing, ...] = ()
    done: tuple[Any, ...] = ()
    causes: Mapping[UUID, Envelope] = field(default_factory=dict)
    """The last cause of each changed aggregate."""

    def with_snapshots(self, snapshot: Callable[[S], Event]) -> Self:
        """The same, telling in addition one snapshot of every changed aggregate, as its last event."""
        counted = {key: altered(state, seq=state.seq + 1) for key, state in self.changed.items()}  # type: ignore[type-var]
        snapshots = tuple(
            Outgoing(snapshot(state), state.seq, self.causes[key]) for key, state in counted.items()
        )
        return replace(self, changed=counted, told=self.told + snapshots)


C = TypeVar("C", bound=Cause)


def decide_each(
    causes: Sequence[C], states: Mapping[UUID, S], decide: Callable[[S | None, C], Decision[S]]
) -> Verdicts[S]:
    """Decide cause after cause, each on the result of the last one of its key.

    `states` holds the locked aggregates by key; `decide` gets None for an unknown one. Events told are
    numbered on from the state's `seq`, which is the aggregate's only counter (`ce_sequence`).
    """
    changed: dict[UUID, S] = {}
    latest: dict[UUID, Envelope] = {}
    outcomes: list[Decision[S]] = []
    told: list[Outgoing] = []
    done: list[Any] = []
    for cause in causes:
        key = cause.key
        outcome = decide(changed.get(key) or states.get(key), cause)
        outcomes.append(outcome)
        if isinstance(outcome, Changed):
            state, numbered = _number(outcome, cause.envelope)
            changed[key], latest[key] = state, cause.envelope
            told += numbered
            done += outcome.do
    return Verdicts(tuple(outcomes), changed, tuple(told), tuple(done), latest)


def _number(outcome: Changed[S], cause: Envelope) -> tuple[S, list[Outgoing]]:
    first = outcome.state.seq + 1
    told = [Outgoing(event, first + place, cause) for place, event in enumerate(outcome.tell)]
    if not told:
        return outcome.state, told
    return altered(outcome.state, seq=told[-1].sequence), told  # type: ignore[type-var]
