"""Processes under test: started from this checkout, ended with us, quoted when they fail."""

import os
import sys
from asyncio.subprocess import Process
from collections.abc import Mapping, Sequence
from pathlib import Path

from infra import processes
from infra.processes import Program

ROOT = Path(__file__).parents[1]


async def start(
    name: str, module: Sequence[str], *, folder: Path, env: Mapping[str, str] | None = None
) -> Process:
    """`python -m <module...>`; it says over the wire when it is ready."""
    program = Program(
        name=name,
        command=[sys.executable, "-m", *module],
        log=folder / f"{name}.log",
        answers=processes.never_asked,
        env=os.environ | dict(env or {}),
        cwd=ROOT,
    )
    return await processes.start(program)


async def stop(process: Process, folder: Path, name: str) -> None:
    """SIGTERM, and a clean end; what it said last when it did not end cleanly."""
    code = await processes.stop(process, within_s=30)
    if code != 0:
        raise RuntimeError(f"{name} ended with {code}\n{processes.tail(folder / f'{name}.log')}")
