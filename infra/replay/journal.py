"""What the replay has already done, on disk: an interrupted one goes on where it stopped."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self


@dataclass(slots=True)
class Placed:
    """One order as placed: its checkout, the reference it was paid with, and whether it is through."""

    checkout_id: str
    reference: str | None = None
    done: bool = False


class Journal:
    """Appended line by line; a line cut off by a crash is as if it had not been written."""

    def __init__(self, path: Path) -> None:
        self.placed: dict[str, Placed] = {}
        self.catalogue = False
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            self._read(path)
        self._file: IO[str] = path.open("a")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def note_catalogue(self) -> None:
        self.catalogue = True
        self._write({"catalogue": True})

    def note(self, order_id: str, placed: Placed) -> None:
        self.placed[order_id] = placed
        line = {"checkout_id": placed.checkout_id, "reference": placed.reference, "done": placed.done}
        self._write({"order": order_id, **line})

    def _write(self, line: dict[str, object]) -> None:
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def _read(self, path: Path) -> None:
        for text in path.read_text().splitlines(keepends=True):
            if text.endswith("\n"):
                self._take(json.loads(text))

    def _take(self, line: dict[str, object]) -> None:
        if order_id := line.pop("order", None):
            self.placed[str(order_id)] = Placed(**line)  # type: ignore[arg-type]
        else:
            self.catalogue = True
