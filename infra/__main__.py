"""`python -m infra`: the whole system as local processes, in the foreground, until Ctrl-C or SIGTERM."""

import argparse
import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from infra.processes import StartFailedError
from infra.progress import Progress
from infra.stack import HERE, AlreadyRunningError, Stack, ended_by_sigterm

SHOWN = ("gateway", "esewa", "esewa-control", "kafka")


async def serve(folder: Path, replicas: Mapping[str, int], console: Console) -> None:
    """Runs the stack until this task is cancelled; the table of progress ends once all is up."""
    progress = Progress(console)
    async with ended_by_sigterm(), Stack(folder, replicas=replicas, report=progress.told) as stack:
        progress.close()
        console.print(_addresses(stack))
        await asyncio.Event().wait()


def _addresses(stack: Stack) -> Table:
    table = Table(box=None, show_header=False)
    for name in SHOWN:
        if name in stack.addresses:
            table.add_row(name, stack.addresses[name])
    table.add_row("logs", str(stack.folder / "logs"))
    return table


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m infra", description=__doc__)
    parser.add_argument("--folder", type=Path, default=HERE, help="data, logs and secrets of this stack")
    parser.add_argument("--replicas", type=int, default=1, help="processes per service")
    return parser.parse_args()


def main() -> None:
    asked = _asked()
    replicas = dict.fromkeys(("orders", "inventory", "payments", "gateway"), asked.replicas)
    try:
        asyncio.run(serve(asked.folder, replicas, Console(highlight=False)))
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(0)  # asked to end, and everything has ended
    except (AlreadyRunningError, StartFailedError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
