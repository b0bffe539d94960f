"""The face eSewa shows the world: the payment form, the pay page, the status check."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from html import escape
from typing import cast
from urllib.parse import parse_qsl

from starlette.types import Receive, Scope, Send

from tests.fakes.esewa import checks, status_view
from tests.fakes.esewa.amounts import java_double
from tests.fakes.esewa.carriage import HTML, Answer, Line, carry, json_answer, send_answer
from tests.fakes.esewa.faults import FaultBook, NoReturn, ReturnShape
from tests.fakes.esewa.request_log import RequestLog
from tests.fakes.esewa.returns import HONEST, return_url
from tests.fakes.esewa.world import UNSETTLED, Session, World, iso

FORM_PATH = "/esewa/api/epay/main/v2/form"
STATUS_PATH = "/esewa/api/epay/transaction/status/"
PAY_PREFIX = "/esewa/pay/"
LARGEST_FORM_BYTES = 64 * 1024

ACTIONS: dict[str, Callable[[World, Session], None]] = {
    "pay": World.pay,
    "cancel": World.cancel,
    "leave": World.leave,
}

NOT_HERE = json_answer({"code": 0, "error_message": "Not found."}, 404)
WRONG_METHOD = json_answer({"code": 0, "error_message": "Method not allowed."}, 405)
TOO_LARGE = json_answer({"code": 0, "error_message": "Request too large."}, 413)
SESSION_OVER = json_answer({"code": 0, "error_message": "Session expired."}, 410)
HEALTHY = json_answer({"status": "ok"})


@dataclass(slots=True)
class EsewaFace:
    """A plain ASGI application: thousands of requests a second matter more here than a router."""

    world: World
    faults: FaultBook = field(default_factory=FaultBook)
    log: RequestLog = field(default_factory=RequestLog)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        line = Line(scope, receive, send)
        path, method = scope["path"], scope["method"]
        match path:
            case _ if path == FORM_PATH and method == "POST":
                await self._form(line)
            case _ if path == STATUS_PATH and method == "GET":
                await self._status(line)
            case _ if path.startswith(PAY_PREFIX):
                await self._pay_page(line, path.removeprefix(PAY_PREFIX), method)
            case "/healthz":
                await send_answer(line, HEALTHY)
            case _:
                await send_answer(line, WRONG_METHOD if path in (FORM_PATH, STATUS_PATH) else NOT_HERE)

    async def _form(self, line: Line) -> None:
        body = await _read(line)
        if body is None:
            await send_answer(line, TOO_LARGE)
            return
        fields = dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))
        reference = fields.get("transaction_uuid", "")
        fault = self.faults.carriage("form", reference)
        self._note("form", fields, fault and fault[0].kind)
        await carry(line, partial(self._decide_form, fields), fault)

    def _decide_form(self, fields: dict[str, str]) -> Answer:
        checked = checks.check_form(self.world, fields)
        if isinstance(checked, checks.Refused):
            return json_answer({"error_message": checked.message, "code": 0}, 400)
        session = self.world.open_session(checked)
        return Answer(302, headers={"location": f"{PAY_PREFIX}{session.id}"})

    async def _status(self, line: Line) -> None:
        query = dict(parse_qsl(line.scope["query_string"].decode(errors="replace"), keep_blank_values=True))
        fault = self.faults.carriage("status", query.get("transaction_uuid", ""))
        self._note("status", query, fault and fault[0].kind)
        await carry(line, partial(status_view.answer, self.world, self.faults, query), fault)

    async def _pay_page(self, line: Line, rest: str, method: str) -> None:
        session_id, _, action = rest.partition("/")
        session = self.world.sessions.get(session_id)
        if session is None or action not in ("", *ACTIONS):
            await send_answer(line, NOT_HERE)
        elif method != ("POST" if action else "GET"):
            await send_answer(line, WRONG_METHOD)
        elif not action:
            await send_answer(line, _page(session, self.world, wants_json=_wants_json(line.scope)))
        else:
            await self._act(line, session, action)

    async def _act(self, line: Line, session: Session, action: str) -> None:
        form = session.form
        fault = self.faults.carriage("return", form.reference)
        seen = {
            "transaction_uuid": form.reference,
            "total_amount": form.total_amount,
            "product_code": form.product_code,
        }
        self._note(action, seen, fault and fault[0].kind)
        await carry(line, partial(self._decide_action, session, action), fault)

    def _decide_action(self, session: Session, action: str) -> Answer:
        """A settled session only shows its outcome again: money moves once, however often one clicks."""
        if self.world.is_over(session):
            return SESSION_OVER
        if session.status in UNSETTLED:
            ACTIONS[action](self.world, session)
        return self._outcome(session)

    def _outcome(self, session: Session) -> Answer:
        fault = self.faults.return_fault(session.form.reference)
        told = {"reference": session.form.reference, "status": session.status, "ref_id": session.ref_id}
        if isinstance(fault, NoReturn):
            return json_answer(told)
        return json_answer(told, 302, {"location": self.return_url(session, fault or HONEST)})

    def return_url(self, session: Session, shape: ReturnShape) -> str:
        return return_url(session, key=self.world.key, profile=self.world.profile, shape=shape)

    def _note(self, operation: str, fields: dict[str, str], fault: str | None) -> None:
        self.log.add(
            operation,
            reference=fields.get("transaction_uuid", ""),
            total_amount=fields.get("total_amount", ""),
            product_code=fields.get("product_code", ""),
            fault=fault,
        )


async def _read(line: Line) -> bytes | None:
    """The request body, or None when it is larger than any honest form or its sender left."""
    body = b""
    while True:
        message = await line.receive()
        if message["type"] == "http.disconnect":
            return None
        body += cast("bytes", message.get("body", b""))
        if len(body) > LARGEST_FORM_BYTES:
            return None
        if not message.get("more_body", False):
            return body


def _wants_json(scope: Scope) -> bool:
    return any(name == b"accept" and b"application/json" in value for name, value in scope["headers"])


def _page(session: Session, world: World, *, wants_json: bool) -> Answer:
    path = f"{PAY_PREFIX}{session.id}"
    if not wants_json:
        return Answer(200, _html(session, path).encode(), HTML)
    return json_answer(
        {
            "session": session.id,
            "reference": session.form.reference,
            "product_code": session.form.product_code,
            "total_amount": java_double(session.form.amount_paisa),
            "status": "EXPIRED" if world.is_over(session) else session.status,
            "expires_at": iso(session.opened_at + world.profile.session_ttl_s),
            "actions": {action: f"{path}/{action}" for action in ACTIONS},
        }
    )


def _html(session: Session, path: str) -> str:
    buttons = "".join(
        f'<form method="post" action="{path}/{action.lower()}"><button>{action}</button></form>'
        for action in ("Pay", "Cancel", "Leave")
    )
    amount = java_double(session.form.amount_paisa)
    return (
        "<!doctype html><html lang=en><title>eSewa simulator</title><body>"
        f"<h1>Pay Rs {amount}</h1><p>{escape(session.form.reference)} to {escape(session.form.product_code)}"
        f", now {session.status}</p>{buttons}</body></html>"
    )
