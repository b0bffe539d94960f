"""What the databases say: whether they answer, schemas, relays, backlogs, parked records, duties, clocks."""

import importlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from infra.asking import UNREACHABLE, why
from infra.databases import SERVICES
from infra.doctor.findings import Finding, Patient
from services.chassis import outbox_backlog
from services.chassis.housekeeping import HOUSEKEEPING
from services.chassis.migrate import differences, migrations_of
from services.chassis.reconciler import Reconciler
from services.chassis.relay import FUTURE_CURSORS

OLDEST_UNPUBLISHED_S: Final = 30.0
MISSED_RUNS: Final = 6
SHORTEST_SILENCE_S: Final = 60.0
CLOCKS_APART_S: Final = 1.0

APPLIED: Final = "select name, checksum from schema_migrations"
LEDGER: Final = "select to_regclass('schema_migrations') is not null as there"
UNPUBLISHED_BY: Final = """
    select part from outbox_shard where lease_until < clock_timestamp() order by part
"""
SET_ASIDE: Final = """
    select topic, state, reason, count(*) as count, min(first_failed_at) as since, clock_timestamp() as now
    from inbox_parked where state in ('parked', 'dead') group by topic, state, reason order by topic
"""
REFUSED: Final = """
    select topic, count(*) as count, min(parked_at) as since, min(error) as error, clock_timestamp() as now
    from outbox_parked where state in ('parked', 'retry') group by topic order by topic
"""
RUNS: Final = """
    select name, last_success_at, last_error, (to_jsonb(run) ->> 'paused_until')::timestamptz as paused_until,
           clock_timestamp() as now
    from reconciler_runs as run
"""
CLOCK: Final = "select clock_timestamp() as now"


async def databases(patient: Patient) -> list[Finding]:
    """Those that cannot be reached, and those that were left out."""
    silent = [
        Finding(
            f"the database of {service} cannot be asked: {reason}",
            "is PostgreSQL up, is its disk full, is the address right? Its log says more",
        )
        for service, reason in patient.asked.silent.items()
        if service not in patient.asked.sessions and service != "kafka"
    ]
    missing = [one for one in SERVICES if one not in patient.place.databases]
    return silent + [
        Finding(f"nobody said where the database of {one} is", f"give --database {one}=DSN")
        for one in missing
    ]


async def schemas(patient: Patient) -> list[Finding]:
    """Schemas that are not exactly this release's."""
    found: list[Finding] = []
    for service in patient.asked.sessions:
        ledger = await patient.asked.row(service, LEDGER)
        if ledger is None:
            continue
        rows = await patient.asked.rows(service, APPLIED) if ledger["there"] else []
        applied = {row["name"]: row["checksum"] for row in rows}
        found += [
            Finding(
                f"the schema of {service} is not this release's: {said}",
                "`python -m infra.deploy provision` applies what is missing; or run the right release",
            )
            for said in differences(migrations_of(service), applied, complete=True)
        ]
    return found


async def relays(patient: Patient) -> list[Finding]:
    """Partitions that nobody publishes, and cursors of another server."""
    found: list[Finding] = []
    for service in patient.asked.sessions:
        foreign = await patient.asked.row(service, FUTURE_CURSORS)
        if foreign is not None and foreign[0]:
            found.append(
                Finding(
                    f"the relay's cursors of {service} are of another server's transactions: {foreign[0]}",
                    "the database was restored from a dump: "
                    f"`kb outbox reset --service {service} --reason ...`",
                )
            )
        parts = [row["part"] for row in await patient.asked.rows(service, UNPUBLISHED_BY)]
        if parts:
            found.append(
                Finding(
                    f"nobody publishes partitions {parts} of {service}: what is told there stays there",
                    f"is {service} running, does it reach its database and the broker? See its log (`relay`)",
                )
            )
    return found


async def outboxes(patient: Patient) -> list[Finding]:
    """Events that should have left long ago."""
    found: list[Finding] = []
    for service, session in patient.asked.sessions.items():
        try:
            backlog = await outbox_backlog.measure(session)
        except UNREACHABLE as error:
            patient.asked.silent.setdefault(service, why(error))
            continue
        if backlog.oldest_age_s > OLDEST_UNPUBLISHED_S:
            found.append(
                Finding(
                    f"{backlog.depth} events of {service} are not published, the oldest for "
                    f"{backlog.oldest_age_s:.0f} s",
                    "is the broker up, does a relay hold the leases? Nothing is lost; it goes on by itself",
                )
            )
    return found


async def parked(patient: Patient) -> list[Finding]:
    """Records that wait for a retry or a person, on either side."""
    found: list[Finding] = []
    for service in patient.asked.sessions:
        found += [_set_aside(service, row) for row in await patient.asked.rows(service, SET_ASIDE)]
        found += [_refused(service, row) for row in await patient.asked.rows(service, REFUSED)]
    return found


def _set_aside(service: str, row: Any) -> Finding:  # noqa: ANN401 - a database row
    waits = "their keys wait" if row["state"] == "parked" else "nobody waits for them"
    return Finding(
        f"{service} has set aside {row['count']} records of {row['topic']} "
        f"({row['state']}, {row['reason']}), the oldest {_age(row)} ago; {waits}",
        "`kb parked list`; `kb find` with the key tells the whole story",
    )


def _refused(service: str, row: Any) -> Finding:  # noqa: ANN401 - a database row
    return Finding(
        f"the broker refuses {row['count']} records of {row['topic']} of {service}, the oldest for "
        f"{_age(row)}: {row['error']}",
        "`kb parked list`; their keys wait",
    )


def _age(row: Any) -> str:  # noqa: ANN401 - a database row
    seconds = (row["now"] - row["since"]).total_seconds()
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds:.0f} s"  # noqa: PLR2004 - an hour


async def reconcilers(patient: Patient) -> list[Finding]:
    """Healing duties that have not succeeded for several of their rounds."""
    found: list[Finding] = []
    for service in patient.asked.sessions:
        rows = await patient.asked.rows(service, RUNS)
        if service not in patient.asked.silent:
            runs = {row["name"]: row for row in rows}
            found += [one for duty in duties(service) for one in silence(service, duty, runs.get(duty.name))]
    return found


def duties(service: str) -> list[Reconciler]:
    """What heals in a service: what its module of that name has, and what every service has."""
    module = importlib.import_module(f"services.{service}.reconcilers")
    own = {one.name: one for one in vars(module).values() if isinstance(one, Reconciler)}
    return [*own.values(), *HOUSEKEEPING]


def silence(service: str, duty: Reconciler, run: Any | None) -> Iterator[Finding]:  # noqa: ANN401 - a database row
    """What is to be said of one duty, given its row (None: it never ran)."""
    do = f"is {service} running? Its log says why (`reconciler`), so does `kb heal --list`"
    if run is None:
        yield Finding(f"{duty.name} of {service} never ran", do)
        return
    if run["paused_until"] is not None and run["paused_until"] > run["now"]:
        return
    patience = timedelta(seconds=max(MISSED_RUNS * duty.every_s, SHORTEST_SILENCE_S))
    if run["last_success_at"] is None or run["now"] - run["last_success_at"] > patience:
        last = f"{run['last_success_at']:%Y-%m-%d %H:%M:%S}" if run["last_success_at"] else "never"
        error = f": {run['last_error']}" if run["last_error"] else ""
        yield Finding(f"{duty.name} of {service} last succeeded {last}{error}", do)


async def clocks(patient: Patient) -> list[Finding]:
    """Databases whose clock is not ours: tokens, and what people read, depend on it."""
    found: list[Finding] = []
    for service in patient.asked.sessions:
        before, began = datetime.now(UTC), time.monotonic()
        row = await patient.asked.row(service, CLOCK)
        if row is not None:
            apart_s = apart(before, row["now"], time.monotonic() - began)
            if apart_s > CLOCKS_APART_S:
                found.append(
                    Finding(
                        f"the clock of {service}'s database is {apart_s:.1f} s away from this machine's",
                        "let both follow a time server (chrony, systemd-timesyncd)",
                    )
                )
    return found


def apart(before: datetime, told: datetime, took_s: float) -> float:
    """Seconds between our clock and one that was asked, less what the question took and may explain."""
    ahead_s = (told - before).total_seconds()
    return max(0.0, -ahead_s, ahead_s - took_s)


async def answers(patient: Patient) -> list[Finding]:
    """Databases that answered at first, and not to everything."""
    return [
        Finding(f"{service} did not answer everything: {reason}", "ask again; its log says more")
        for service, reason in patient.asked.silent.items()
        if service in patient.asked.sessions
    ]
