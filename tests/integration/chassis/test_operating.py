"""What operators ask of a service and of `kb heal`: over HTTP, with tokens, on a real database."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx2
import pytest
from typer.testing import CliRunner, Result

from infra import heal
from infra.cli import app as kb
from services.chassis import business, reconcilers_api
from services.chassis.db import Database, Tx
from services.chassis.http import make_app
from services.chassis.ids import new_id
from services.chassis.reconciler import every
from services.orders.settings import OrdersSettings
from tests.conftest import Database as Made
from tests.support.tokens import AUDIENCE, NAME, tokens_in
from tests.support.web import serving

ASHA = UUID(int=77)
WHY = {"reason": "stock count today"}


BLOCK = "insert into inbox_block (consumer, key) select 1, key from unnest($1::text[]) as key"


@every(seconds=10)
async def end_blocks(tx: Tx, _: datetime) -> int:
    """Something that can be seen to have happened, or not."""
    return len(await tx.fetch("delete from inbox_block returning key"))


@every(seconds=10, once_read=("payment.verified",))
async def careful(_: Tx, __: datetime) -> int:
    """Never gets to run here."""
    return 0


async def never_read(_: Sequence[str]) -> bool:
    return False


async def numbers(_: Tx, __: datetime) -> dict[str, Any]:
    return {"counts": {"checkouts": {"confirmed": 2}}, "stuck": {"processing": 0}, "orders_without_items": 0}


@dataclass(frozen=True, slots=True)
class Desk:
    """A service that has only what the chassis gives it."""

    db: Database
    url: str
    make_token: Any
    admin_dsn: str

    async def ask(
        self, method: str, path: str, body: object = None, *, role: str | None = "operator"
    ) -> httpx2.Response:
        token = role and self.make_token(subject=ASHA, roles=[role])
        headers = {"authorization": f"Bearer {token}"} if token else {}
        async with httpx2.AsyncClient(base_url=self.url, timeout=10) as client:
            return await client.request(method, path, json=body, headers=headers)

    async def duty(self, name: str, verb: str, **body: object) -> httpx2.Response:
        return await self.ask("POST", f"/internal/operator/reconcilers/{name}/{verb}", body)

    async def listed(self, name: str) -> Any:  # noqa: ANN401 - JSON
        answer = await self.ask("GET", "/internal/operator/reconcilers")
        return next(one for one in answer.json()["data"] if one["name"] == name)

    async def health(self) -> Any:  # noqa: ANN401 - JSON
        answer = await self.ask("GET", "/internal/health/business")
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def as_admin(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.admin_dsn)
        try:
            rows: list[asyncpg.Record] = await connection.fetch(statement, *arguments)
            return rows
        finally:
            await connection.close()

    async def block(self, *keys: str) -> None:
        await self.as_admin(BLOCK, list(keys))

    async def blocks(self) -> int:
        return len(await self.as_admin("select from inbox_block"))

    async def actions(self) -> list[tuple[str, str, str, UUID]]:
        columns = ("action", "subject", "reason", "actor")
        rows = await self.as_admin("select * from operator_actions order by id")
        return [tuple(row[name] for name in columns) for row in rows]

    async def kb(self, *arguments: str, url: str | None = None) -> Result:
        words = ["heal", *arguments, "--url", f"orders={url or self.url}"]
        env = {"KB_TOKEN": self.make_token(subject=ASHA, roles=["operator"])}
        return await asyncio.to_thread(CliRunner(env=env).invoke, kb, words)


@pytest.fixture
async def desk(database: Callable[[str], Awaitable[Made]], tmp_path: Path) -> AsyncIterator[Desk]:
    made, tokens = await database("orders"), tokens_in(tmp_path)
    db = Database(made.dsn, name="operating-test", size=4)
    settings = OrdersSettings(
        database_url=made.dsn,
        issuer=NAME,
        audience=AUDIENCE,
        jwks_file=tokens.jwks,
        address_key_file=tmp_path,
    )
    state = {
        "db": db,
        "settings": settings,
        "duties": {one.name: one for one in (end_blocks, careful)},
        "caught_up": never_read,
        "numbers": numbers,
    }
    app = make_app("orders", routers=[reconcilers_api.router, business.router], state=state)
    async with serving(app) as url:
        yield Desk(db, url, tokens.issuer.make_token, made.admin_dsn)
    await db.close()


@pytest.mark.parametrize(
    ("role", "status"), [(None, 401), ("customer", 403), ("vendor", 403), ("support", 403)]
)
async def test_only_operators_may_look_and_act(desk: Desk, role: str | None, status: int) -> None:
    asked = [
        ("GET", "/internal/operator/reconcilers", None),
        ("GET", "/internal/health/business", None),
        ("POST", "/internal/operator/reconcilers/end_blocks/run", WHY),
        ("POST", "/internal/operator/reconcilers/end_blocks/pause", WHY | {"for_s": 60}),
        ("POST", "/internal/operator/reconcilers/end_blocks/resume", WHY),
    ]
    if role == "vendor":
        return  # its token needs a vendor; what it may do is what a customer may
    await desk.block("a")
    for method, path, body in asked:
        assert (await desk.ask(method, path, body, role=role)).status_code == status, path
    assert await desk.blocks() == 1
    assert await desk.actions() == []


async def test_a_run_by_hand_heals_and_is_written_down_with_who_and_why(desk: Desk) -> None:
    await desk.block("a", "b")
    answer = await desk.duty("end_blocks", "run", **WHY)
    assert answer.json() == {"dry_run": False, "found": 2, "tells": []}
    assert await desk.blocks() == 0
    assert await desk.actions() == [("reconciler.run", "end_blocks", WHY["reason"], ASHA)]
    assert (await desk.listed("end_blocks"))["last_found"] == 2


async def test_a_dry_run_says_it_and_leaves_nothing(desk: Desk) -> None:
    await desk.block("a", "b")
    answer = await desk.duty("end_blocks", "run", dry_run=True)
    assert answer.json() == {"dry_run": True, "found": 2, "tells": []}
    assert await desk.blocks() == 2
    assert await desk.actions() == []
    assert (await desk.listed("end_blocks"))["last_run_at"] is None


async def test_a_pause_says_until_when_by_whom_and_why_and_can_be_ended(desk: Desk) -> None:
    answer = await desk.duty("end_blocks", "pause", for_s=60, **WHY)
    assert answer.status_code == 200
    listed = await desk.listed("end_blocks")
    assert (listed["paused_by"], listed["paused_reason"]) == (str(ASHA), WHY["reason"])
    assert listed["next_run_at"] == listed["paused_until"] == answer.json()["paused_until"]
    assert (await desk.duty("end_blocks", "resume", **WHY)).status_code == 200
    assert (await desk.listed("end_blocks"))["paused_until"] is None
    assert [action for action, *_ in await desk.actions()] == ["reconciler.pause", "reconciler.resume"]


@pytest.mark.parametrize(
    ("name", "verb", "body", "status", "code"),
    [
        ("gone", "run", WHY, 404, "NOT_FOUND"),
        ("end_blocks", "run", {}, 422, "VALIDATION_FAILED"),
        ("end_blocks", "run", {"reason": "  "}, 422, "VALIDATION_FAILED"),
        ("end_blocks", "pause", {"for_s": 60}, 422, "VALIDATION_FAILED"),
        ("end_blocks", "pause", WHY | {"for_s": 86_401}, 422, "VALIDATION_FAILED"),
        ("end_blocks", "pause", WHY | {"for_s": 0}, 422, "VALIDATION_FAILED"),
        ("end_blocks", "pause", WHY | {"for_s": 60, "until": "for ever"}, 422, "VALIDATION_FAILED"),
        ("end_blocks", "resume", WHY, 409, "NOT_PAUSED"),
        ("careful", "run", WHY, 409, "NOT_CAUGHT_UP"),
        ("careful", "run", {"dry_run": True}, 409, "NOT_CAUGHT_UP"),
    ],
)
async def test_what_cannot_be_done_is_said_and_nothing_is_done(
    desk: Desk, name: str, verb: str, body: dict[str, object], status: int, code: str
) -> None:
    answer = await desk.duty(name, verb, **body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert await desk.actions() == []


async def test_a_duty_that_another_process_runs_is_not_run_twice(desk: Desk) -> None:
    hold = "select pg_advisory_xact_lock(hashtextextended('reconciler:end_blocks', 0))"
    async with desk.db.transaction() as tx:
        await tx.fetchval(hold)
        answer = await desk.duty("end_blocks", "run", **WHY)
    assert (answer.status_code, answer.json()["code"]) == (409, "CONCURRENT_UPDATE")


@pytest.mark.parametrize(
    "change", ["update operator_actions set reason = 'x'", "delete from operator_actions"]
)
async def test_what_was_done_cannot_be_rewritten(desk: Desk, change: str) -> None:
    await desk.duty("end_blocks", "run", **WHY)
    with pytest.raises(asyncpg.RestrictViolationError):
        await desk.as_admin(change)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with desk.db.transaction() as tx:
            await tx.execute(change)


PARK = """
    insert into inbox_parked (consumer, topic, part, kafka_offset, key, event_id, headers,
                              state, reason, error, first_failed_at)
    values (1, 't', 0, $1, 'k', $2, '{}', $3, $4, 'e', now() - make_interval(mins => $5))
"""


async def test_the_numbers_say_what_failed_and_why_in_the_last_hour_and_day(desk: Desk) -> None:
    # The database is a clone, and its template may be minutes old: nothing has been idle since then.
    await desk.as_admin("update outbox_shard set saved_at = now()")
    await desk.as_admin("update schema_migrations set applied_at = now()")
    calm = await desk.health()
    assert calm["ok"], calm
    assert calm["failed"] == {"last_hour": {}, "last_day": {}, "parked": 0, "dead": 0, "oldest_s": None}
    assert calm["counts"] == {"checkouts": {"confirmed": 2}}
    for place, (state, reason, minutes) in enumerate(
        [("parked", "ERROR", 5), ("dead", "NEVER", 90), ("replayed", "ERROR", 90), ("dead", "NEVER", 3000)]
    ):
        await desk.as_admin(PARK, place, new_id(), state, reason, minutes)
    found = await desk.health()
    assert found["failed"]["last_hour"] == {"ERROR": 1}
    assert found["failed"]["last_day"] == {"ERROR": 2, "NEVER": 1}
    assert (found["failed"]["parked"], found["failed"]["dead"]) == (1, 2)
    assert found["failed"]["oldest_s"] == pytest.approx(3000 * 60, abs=60)
    assert not found["ok"]


async def test_the_numbers_say_what_is_stuck_unpublished_or_silent(desk: Desk) -> None:
    await desk.as_admin(
        "insert into inbox_block (consumer, key, next_at) values (1, 'k', now() - interval '2 min')"
    )
    await desk.as_admin("update outbox_shard set saved_at = now() - interval '1 min' where part < 6")
    await desk.as_admin("update outbox_shard set lease_until = now() + interval '1 min' where part >= 3")
    await desk.as_admin("update schema_migrations set applied_at = now() - interval '1 hour'")
    await desk.as_admin("""
        insert into outbox (part, topic, key, key_seq, event_id, subject_kind, payload,
                            created_at)
        values (3, 't', 'k', 1, gen_random_uuid(), 'order', '', now() - interval '90 s')
    """)
    found = await desk.health()
    assert found["stuck"] == {"processing": 0, "retries": 1}
    assert found["outbox"]["unpublished"] == 1
    assert found["outbox"]["oldest_unpublished_s"] == pytest.approx(90, abs=60)
    assert found["outbox"]["idle_shards"] == 3
    assert found["reconcilers"]["silent"] == ["end_blocks", "careful"]
    assert not found["ok"]


async def test_kb_heal_runs_it_once(desk: Desk) -> None:
    await desk.block("a", "b", "c")
    done = await desk.kb("end_blocks", "--dry-run")
    assert (done.exit_code, said(done)) == (0, "orders end_blocks: would have moved 3")
    assert await desk.blocks() == 3
    done = await desk.kb("orders.end_blocks")
    assert (done.exit_code, said(done)) == (0, "orders end_blocks: moved 3")
    assert await desk.blocks() == 0


def said(done: Result) -> str:
    """The last line; those before it are the service's own log, which shares the output here."""
    return done.output.splitlines()[-1]


async def test_kb_heal_pauses_resumes_and_lists(desk: Desk) -> None:
    assert "paused until" in (await desk.kb("end_blocks", "--pause-for", "30m", "--reason", "why not")).output
    listed = await desk.kb("--list")
    assert listed.exit_code == 0
    assert "end_blocks" in listed.output
    assert "why not" in " ".join(listed.output.split())
    assert "resumed" in (await desk.kb("end_blocks", "--resume", "--reason", "done")).output
    assert [reason for _, _, reason, _ in await desk.actions()] == ["why not", "done"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("gone",), "there are: careful, end_blocks"),
        ((), "or --list alone"),
        (("end_blocks", "--list"), "or --list alone"),
        (("end_blocks", "--dry-run", "--resume"), "at most one of"),
        (("end_blocks", "--pause-for", "30m"), "--reason"),
        (("end_blocks", "--pause-for", "25h", "--reason", "x"), "nothing is paused for ever"),
        (("end_blocks", "--pause-for", "ever", "--reason", "x"), "nothing is paused for ever"),
        (("end_blocks", "--resume", "--reason", "x"), "end_blocks is not paused"),
        (("careful",), "read its topics"),
    ],
)
async def test_kb_heal_says_what_is_wrong_and_what_to_do(
    desk: Desk, arguments: tuple[str, ...], says: str
) -> None:
    done = await desk.kb(*arguments)
    assert done.exit_code == 2
    assert says in done.output


async def test_kb_heal_says_when_nobody_answers(desk: Desk, free_port: Callable[[], int]) -> None:
    for arguments in (("end_blocks",), ("--list",)):
        done = await desk.kb(*arguments, url=f"http://127.0.0.1:{free_port()}")
        assert done.exit_code == 2
        assert "does not answer" in done.output
    nowhere = await asyncio.to_thread(CliRunner().invoke, kb, ["heal", "--list", "--instance", "nowhere"])
    assert nowhere.exit_code == 2
    assert "make dev" in nowhere.output


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("24h", 86_400), (" 2h ", 7200)])
def test_a_pause_is_read_in_seconds_minutes_and_hours(text: str, seconds: int) -> None:
    assert heal.seconds_of(text) == seconds
