"""`python -m infra.replay FOLDER`: replay a history on a system of its own; run again, it goes on."""

import argparse
import asyncio
import sys
from pathlib import Path

import httpx2
from rich.console import Console

from infra.parts import ROOT
from infra.people import ApiError
from infra.processes import StartFailedError
from infra.replay import history
from infra.replay.journal import UnreadableJournalError
from infra.replay.play import ReplayError
from infra.replay.run import replay
from infra.stack import AlreadyRunningError, erase
from tests.fakes.esewa import RefusedError

HERE = ROOT / ".run" / "replay"
MOST_AT_ONCE = 256
UNUSABLE = (history.UnreadableHistoryError, UnreadableJournalError)


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m infra.replay", description=__doc__)
    parser.add_argument("data", type=Path, help="the folder with the history's files")
    parser.add_argument("--folder", type=Path, default=HERE, help="data, logs and secrets of its stack")
    parser.add_argument("--at-once", type=_some, default=16, help="orders played at the same time")
    parser.add_argument("--fresh", action="store_true", help="forget what an earlier replay has done")
    return parser.parse_args()


def _some(text: str) -> int:
    number = int(text)
    if not 1 <= number <= MOST_AT_ONCE:
        raise argparse.ArgumentTypeError(f"from 1 to {MOST_AT_ONCE}")
    return number


def main() -> None:
    asked, console = _asked(), Console(soft_wrap=True)
    try:
        past = history.read(asked.data)
        if asked.fresh:
            erase(asked.folder)
        sys.exit(asyncio.run(replay(asked.folder, past, console, asked.at_once)))
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit("interrupted; run it again and it goes on")
    except (*UNUSABLE, AlreadyRunningError, StartFailedError, ApiError) as error:
        sys.exit(str(error))
    except ExceptionGroup as failed:
        told, unexpected = failed.split((ReplayError, ApiError, RefusedError, httpx2.TransportError))
        if unexpected is not None or told is None:
            raise
        sys.exit("\n".join(sorted({str(error) for error in told.exceptions})))


if __name__ == "__main__":
    main()
