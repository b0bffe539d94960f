"""An operator at the API of a service that hears one topic, and ways to get records parked there."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import httpx2

from contracts.payments import PaymentReturned
from services.chassis.consumer import Subscription
from services.chassis.decisions import Never
from services.chassis.retrier import retry_one
from tests.support.effects import NUMBER, Effects, event

ROOT = "/internal/operator/parked"
WHY = "tried by a test"
TABLES = ("effects", "outbox", "inbox", "inbox_parked", "inbox_block", "outbox_parked", "operator_actions")
REFUSED = """
    insert into outbox_parked (id, part, topic, key, key_seq, event_id, subject_kind, payload,
                               created_at, error)
    values ($1, 0, 'payment.returned', $2, $1, gen_random_uuid(), 'order',
            $3, now(), $4)
"""


@dataclass
class Office:
    """The operator API of a service that hears one topic, an operator who uses it, and what is behind it."""

    effects: Effects
    client: httpx2.AsyncClient
    make_token: Any
    operator: UUID
    app: Any

    async def ask(
        self, method: str, path: str, body: object = None, *, role: str = "operator"
    ) -> httpx2.Response:
        token = self.make_token(
            subject=self.operator, roles=[role], vendor_id=uuid4() if role == "vendor" else None
        )
        headers = {"authorization": f"Bearer {token}"}
        return await self.client.request(method, ROOT + path, json=body, headers=headers)

    async def gets(self, path: str) -> Any:  # noqa: ANN401 - JSON
        answer = await self.ask("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def does(self, verb: str, *records: str) -> Any:  # noqa: ANN401 - JSON
        answer = await self.ask("POST", f"/{verb}", {"records": records, "reason": WHY})
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    async def rehearses(self, *records: str) -> list[tuple[str, str]]:
        answer = await self.ask("POST", "/dry-run", {"records": records})
        assert answer.status_code == 200, answer.text
        return [(one["record"], one["outcome"]) for one in answer.json()["data"]]

    async def edits_payload(self, record: str, payload: object) -> httpx2.Response:
        return await self.ask("PUT", f"/{record}/payload", {"payload": payload, "reason": WHY})

    async def poisons(self, *numbers: int) -> tuple[UUID, list[str]]:
        """A key whose first record has failed, the others behind it; what broke it is mended."""
        key = uuid4()
        self.effects.broken = {(key, numbers[0])}
        await self.effects.hear(*[(key, nr) for nr in numbers])
        self.effects.broken = set()
        rows = await self.effects.admin.fetch(
            "select id from inbox_parked where key = $1 order by id", str(key)
        )
        return key, [f"notifications.in.{row['id']}" for row in rows]

    async def kills(self) -> tuple[UUID, str]:
        """A record that can never take effect."""
        key = uuid4()
        self.effects.decisions[key, 1] = Never("a charge of another planet")
        await self.effects.hear((key, 1))
        del self.effects.decisions[key, 1]
        number = await self.effects.admin.fetchval("select id from inbox_parked where key = $1", str(key))
        return key, f"notifications.in.{number}"

    async def refuses(self, number: int, key: UUID, *, error: str = "MessageSizeTooLargeError: 10") -> str:
        """A record the broker did not take."""
        body = event(key, number).model_dump_json().encode()
        await self.effects.admin.execute(REFUSED, number, str(key), body, error)
        return f"notifications.out.{number}"

    async def drains(self) -> None:
        """The retrier does what is due."""
        while await retry_one(self.effects.db, {NUMBER: Subscription(PaymentReturned, self.effects.handle)}):
            pass

    async def actions(self) -> list[tuple[str, str, UUID, str]]:
        rows = await self.effects.admin.fetch(
            "select action, subject, actor, reason from operator_actions order by at, id"
        )
        return [tuple(row) for row in rows]

    async def everything(self) -> dict[str, list[str]]:
        """All tables an operation may touch, as text."""
        read = "select one::text as row from {} as one order by 1"
        found = {name: await self.effects.admin.fetch(read.format(name)) for name in TABLES}
        return {name: [row["row"] for row in rows] for name, rows in found.items()}


def problem(answer: httpx2.Response, status: int, code: str) -> Any:  # noqa: ANN401 - JSON
    assert answer.status_code == status, answer.text
    assert answer.json()["code"] == code
    return answer.json()
