"""What everybody did and what came of it: one JSON line per event, written as it happens."""

import itertools
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Literal, Self

Type = Literal["invoke", "ok", "fail", "info"]
"""`fail` had certainly no effect, of `info` nobody knows."""


@dataclass(frozen=True, slots=True)
class Event:
    """One line; `op` ties an answer to its request, `f` says what was asked for."""

    run: str
    seed: int
    t_mono_ns: int
    client: str
    op: int
    f: str
    args: Mapping[str, Any]
    type: Type
    http_status: int | None = None
    result: Mapping[str, Any] = field(default_factory=dict)
    idempotency_key: str | None = None
    trace_id: str | None = None


@dataclass(frozen=True, slots=True)
class Op:
    """A request with its answer; one that was never answered ended in `info`, at the end of all time."""

    asked: Event
    answer: Event

    @property
    def took_s(self) -> float:
        return (self.answer.t_mono_ns - self.asked.t_mono_ns) / 1e9


class Recorder:
    """Writes the history; whoever has an answer to note got the place for it from `invoke`."""

    def __init__(
        self, path: Path, *, run: str, seed: int, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self.path, self.run, self.seed, self.clock = path, run, seed, clock
        self._numbers = itertools.count(1)
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        self._file = self.path.open("w", buffering=1)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._file is not None
        self._file.close()

    def invoke(
        self,
        client: str,
        f: str,
        args: Mapping[str, Any],
        *,
        idempotency_key: str | None = None,
        trace_id: str | None = None,
    ) -> Event:
        """Something is about to be asked for, or done to the system."""
        asked = Event(
            run=self.run,
            seed=self.seed,
            t_mono_ns=self.clock(),
            client=client,
            op=next(self._numbers),
            f=f,
            args=args,
            type="invoke",
            idempotency_key=idempotency_key,
            trace_id=trace_id,
        )
        self._write(asdict(asked))
        return asked

    def end(
        self,
        asked: Event,
        type: Type,  # noqa: A002 - its name in the history
        http_status: int | None = None,
        **result: object,
    ) -> None:
        """What came of it."""
        told = asdict(asked) | {"t_mono_ns": self.clock(), "type": type}
        self._write(told | {"http_status": http_status, "result": result})

    def _write(self, line: Mapping[str, Any]) -> None:
        assert self._file is not None, "the history is written inside `with`"
        self._file.write(json.dumps(line, default=str) + "\n")


def read(path: Path) -> list[Op]:
    """All operations of a history, in the order in which they were begun."""
    with path.open() as file:
        return paired(Event(**json.loads(line)) for line in file if line.endswith("\n"))


def paired(events: Iterable[Event]) -> list[Op]:
    """Each request with its answer, or with `info` when none was noted."""
    asked: dict[int, Event] = {}
    answers: dict[int, Event] = {}
    for event in events:
        (asked if event.type == "invoke" else answers)[event.op] = event
    return list(_ops(asked, answers))


def _ops(asked: Mapping[int, Event], answers: Mapping[int, Event]) -> Iterator[Op]:
    for number, event in asked.items():
        answer = answers.get(number)
        if answer is None:
            answer = Event(**(asdict(event) | {"type": "info", "t_mono_ns": 2**63 - 1}))
        yield Op(event, answer)
