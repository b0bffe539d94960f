"""Free ports on the loopback that two copies of the system never both take."""

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path
from typing import TextIO

# Below the range the kernel takes for outgoing connections: a port remembered for a process that is being
# restarted cannot be taken in the meantime by somebody's connection.
FIRST, LAST = 20_000, 32_000
TRIES = 200

_kept: dict[int, TextIO] = {}


def free_port() -> int:
    """A port nobody listens on, reserved for this process until it ends."""
    for _ in range(TRIES):
        port = random.randint(FIRST, LAST)  # noqa: S311 - spread, not secrecy
        if port not in _kept and _reserve(port):
            return port
    raise RuntimeError(f"no free port between {FIRST} and {LAST} in {TRIES} tries")


def _reserve(port: int) -> bool:
    """Holds a lock on a file named like the port; the kernel lets go of it when this process ends."""
    folder = Path(tempfile.gettempdir()) / f"kb-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    mark = (folder / str(port)).open("w")
    try:
        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        mark.close()
        return False
    if not _bindable(port):
        mark.close()
        return False
    _kept[port] = mark
    return True


def _bindable(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
