"""What the replay has already done, on disk: an interrupted one goes on where it stopped."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self


class UnreadableJournalError(ValueError):
    """A line in the middle is not ours; the message says which."""


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
        self.given_up: set[str] = set()
        """Checkouts that ended unpaid and were placed once more."""
        self.catalogue = False
        path.parent.mkdir(parents=True, exist_ok=True)
        # Bytes, for their count says where a line begins that was cut.
        self._file: IO[bytes] = path.open("a+b")
        try:
            self._read(path.name)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def note_catalogue(self) -> None:
        self.catalogue = True
        self._write({"catalogue": True})

    def note(self, order_id: str, placed: Placed) -> None:
        self._remember(order_id, placed)
        line = {"checkout_id": placed.checkout_id, "reference": placed.reference, "done": placed.done}
        self._write({"order": order_id, **line})

    def _write(self, line: dict[str, object]) -> None:
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()

    def _read(self, name: str) -> None:
        """Everything up to the last whole line; what was cut goes, or the next line would be glued to it."""
        self._file.seek(0)
        whole = 0
        for number, text in enumerate(self._file, 1):
            if not text.endswith(b"\n"):
                break
            try:
                self._take(json.loads(text))
            except (ValueError, TypeError, AttributeError, KeyError) as error:
                raise UnreadableJournalError(f"{name}:{number}: not a line of a replay's journal") from error
            whole += len(text)
        self._file.truncate(whole)

    def _take(self, line: dict[str, object]) -> None:
        if order_id := line.pop("order", None):
            self._remember(str(order_id), Placed(**line))  # type: ignore[arg-type]
        else:
            self.catalogue = bool(line.pop("catalogue"))

    def _remember(self, order_id: str, placed: Placed) -> None:
        before = self.placed.get(order_id, placed)
        if before.checkout_id != placed.checkout_id:
            self.given_up.add(before.checkout_id)
        self.placed[order_id] = placed
