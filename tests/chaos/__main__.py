"""`python -m tests.chaos`: break a running system for some minutes and say what became of it."""

import argparse
import asyncio
import shutil
import sys
from pathlib import Path

from rich.console import Console

from infra.parts import ROOT
from infra.processes import StartFailedError
from infra.replay import history
from infra.stack import AlreadyRunningError, ended_by_sigterm, erase
from tests.chaos.run import Wish, run

LONGEST_MINUTES = 24 * 60
CUSTOMERS_PER_S = 7.0


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="one seed, one schedule of faults")
    parser.add_argument("--minutes", type=_minutes, default=10.0, help="how long things are broken")
    parser.add_argument("--customers", type=float, default=CUSTOMERS_PER_S, help="who come in a second")
    parser.add_argument("--replay", type=Path, help="an order history to be replayed meanwhile")
    parser.add_argument("--folder", type=Path, default=ROOT / ".run" / "chaos", help="where runs are kept")
    return parser.parse_args()


def _minutes(text: str) -> float:
    minutes = float(text)
    if not 0 < minutes <= LONGEST_MINUTES:
        raise argparse.ArgumentTypeError(f"more than 0, at most {LONGEST_MINUTES}")
    return minutes


async def _run(asked: argparse.Namespace) -> int:
    if asked.replay:
        history.read(asked.replay)  # what cannot be read is refused before anything is started
    place = asked.folder / f"seed-{asked.seed}"
    if place.exists():
        erase(place / "stack")
        shutil.rmtree(place)
    command = f"make chaos SEED={asked.seed} MINUTES={asked.minutes:g}"
    command += f" DATA={asked.replay}" if asked.replay else ""
    wish = Wish(asked.seed, 60 * asked.minutes, asked.customers, command, history=asked.replay)
    async with ended_by_sigterm():
        found = await run(place, wish, Console(soft_wrap=True))
    return 0 if found.ok else 1


def main() -> None:
    try:
        sys.exit(asyncio.run(_run(_asked())))
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit("interrupted")
    except (history.UnreadableHistoryError, AlreadyRunningError, StartFailedError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
