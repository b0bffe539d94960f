"""After the starter of a server was killed: the server is still ending when the next one wants its data."""

import signal
from pathlib import Path

from infra import postgres, processes
from infra.ports import free_port


async def test_a_server_that_is_still_ending_is_waited_for(tmp_path: Path) -> None:
    folder = tmp_path / "postgres"
    first = await postgres.start(folder, password="test")
    try:
        first.process.send_signal(signal.SIGINT)  # as the kernel does
        again = await postgres.program(folder, password="test", port=free_port(), log=first.log)
        assert not Path(again.command[2], "postmaster.pid").exists()
        await processes.stop(await processes.serve(again), signal.SIGINT)
    finally:
        await first.stop()
        postgres.erase(folder)
