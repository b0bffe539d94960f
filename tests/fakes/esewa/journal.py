"""The simulator's memory on disk: one JSON line per thing that happened, readable after a kill."""

import fcntl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

Event = dict[str, Any]


class StateInUseError(RuntimeError):
    """Another simulator owns this state file; two truths in one file would be none."""


class Journal:
    """An append-only file of events, locked to one process.

    Lines reach the kernel before the answer leaves, so a killed process loses nothing;
    they are not forced to the disk, because a power cut is not played here.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+b", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            raise StateInUseError(f"another simulator keeps its truth in {path}") from error

    def events(self) -> Iterator[Event]:
        """Everything written so far; a last line torn by a kill was never answered and is cut off."""
        self._file.seek(0)
        content = self._file.read()
        whole, _, torn = content.rpartition(b"\n")
        if torn:
            self._file.truncate(len(content) - len(torn))
        return map(orjson.loads, whole.splitlines())

    def append(self, event: Event) -> None:
        self._file.write(orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE))

    def start_over(self) -> None:
        self._file.truncate(0)

    def close(self) -> None:
        self._file.close()


class NoJournal(Journal):
    """For worlds that may end with their process."""

    def __init__(self) -> None: ...

    def events(self) -> Iterator[Event]:
        return iter(())

    def append(self, event: Event) -> None: ...

    def start_over(self) -> None: ...

    def close(self) -> None: ...
