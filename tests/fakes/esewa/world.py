"""What is true about money at this gateway: sessions, payments, and the clock they live by."""

import secrets
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from tests.fakes.esewa.journal import Event, Journal

CODE_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
CODE_LENGTH = 7


class Status(StrEnum):
    """OPEN and LEFT moved nothing and may still be paid; from PAID on, money moved."""

    OPEN = "OPEN"
    LEFT = "LEFT"
    CANCELED = "CANCELED"
    PAID = "PAID"
    REVERSED = "REVERSED"
    REFUNDED = "REFUNDED"
    PARTIALLY_REFUNDED = "PARTIALLY_REFUNDED"


UNSETTLED = frozenset({Status.OPEN, Status.LEFT})
MONEY_MOVED = frozenset({Status.PAID, Status.REVERSED, Status.REFUNDED, Status.PARTIALLY_REFUNDED})


class Profile(BaseModel):
    """Behaviour that differs between eSewa's years, or that nobody has published."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    comma_amounts: bool = False
    numeric_amount: bool = False
    legacy_status_shape: bool = False
    strict_uuid: bool = True
    wrong_amount_not_found: bool = True
    session_ttl_s: int = Field(default=300, ge=1, le=86_400)


@dataclass(frozen=True, slots=True)
class Form:
    """A payment request that passed every check."""

    reference: str
    product_code: str
    amount_paisa: int
    total_amount: str
    success_url: str
    failure_url: str
    signature: str


@dataclass(slots=True)
class Session:
    """One payment page, from the accepted form to whatever became of its money."""

    id: str
    form: Form
    opened_at: float
    status: Status = Status.OPEN
    ref_id: str | None = None
    paid_at: float | None = None
    refunded_paisa: int = 0


@dataclass(slots=True)
class World:
    """Every change is an event applied by the same code now and after a restart."""

    journal: Journal
    profile: Profile = field(default_factory=Profile)
    product_code: str = "EPAYTEST"
    key: str = ""
    sessions: dict[str, Session] = field(default_factory=dict)
    by_reference: dict[str, Session] = field(default_factory=dict)
    settled: list[Session] = field(default_factory=list)
    clock_offset_s: float = 0.0
    # Seconds since 1970: a world started later never hands out a code an earlier one used.
    next_code: int = field(default_factory=lambda: int(time.time()))

    def __post_init__(self) -> None:
        for event in self.journal.events():
            self._apply(event)

    def now(self) -> float:
        return time.time() + self.clock_offset_s

    def is_over(self, session: Session) -> bool:
        """Nobody can pay here any more, and nobody did."""
        return session.status in UNSETTLED and self.now() > session.opened_at + self.profile.session_ttl_s

    def open_session(self, form: Form) -> Session:
        session_id = secrets.token_urlsafe(12)
        self._happen({"event": "opened", "session": session_id, "at": self.now(), "form": asdict(form)})
        return self.sessions[session_id]

    def pay(self, session: Session) -> None:
        ref_id = _code(self.next_code)
        self._happen({"event": "paid", "session": session.id, "at": self.now(), "ref_id": ref_id})

    def cancel(self, session: Session) -> None:
        self._happen({"event": "moved", "session": session.id, "to": Status.CANCELED})

    def leave(self, session: Session) -> None:
        self._happen({"event": "moved", "session": session.id, "to": Status.LEFT})

    def move(self, session: Session, to: Status, *, refunded_paisa: int = 0) -> None:
        """What the gateway's own people do to a payment: reverse it, or give it back."""
        event = {"event": "moved", "session": session.id, "to": to, "refunded_paisa": refunded_paisa}
        self._happen(event)

    def advance(self, seconds: float) -> None:
        self._happen({"event": "clock", "offset_s": self.clock_offset_s + seconds})

    def configure(self, profile: Profile) -> None:
        self._happen({"event": "profile", **profile.model_dump()})

    def start_over(self, profile: Profile) -> None:
        """A world without payments; transaction codes go on, so none is ever given twice."""
        self.journal.start_over()
        self.sessions.clear()
        self.by_reference.clear()
        self.settled.clear()
        self._happen({"event": "world", "next_code": self.next_code})
        self._happen({"event": "clock", "offset_s": 0.0})
        self.configure(profile)

    def _happen(self, event: Event) -> None:
        self.journal.append(event)
        self._apply(event)

    def _apply(self, event: Event) -> None:
        match event["event"]:
            case "opened":
                self._opened(event)
            case "paid":
                self._paid(event)
            case "moved":
                self._moved(event)
            case "clock":
                self.clock_offset_s = event["offset_s"]
            case "profile":
                self.profile = Profile(**{name: event[name] for name in Profile.model_fields})
            case "world":
                self.next_code = event["next_code"]
            case unknown:
                raise ValueError(f"a state file from another version: it tells of {unknown}")

    def _opened(self, event: Event) -> None:
        session = Session(id=event["session"], form=Form(**event["form"]), opened_at=event["at"])
        self.sessions[session.id] = self.by_reference[session.form.reference] = session

    def _paid(self, event: Event) -> None:
        session = self.sessions[event["session"]]
        session.status, session.paid_at, session.ref_id = Status.PAID, event["at"], event["ref_id"]
        self.settled.append(session)
        self.next_code = int(event["ref_id"], len(CODE_DIGITS)) + 1

    def _moved(self, event: Event) -> None:
        session = self.sessions[event["session"]]
        if session.status in UNSETTLED and event["to"] == Status.CANCELED:
            self.settled.append(session)
        session.status = Status(event["to"])
        session.refunded_paisa = event.get("refunded_paisa", 0)


def truth_rows(sessions: Sequence[Session]) -> list[dict[str, str | int | None]]:
    """The rows `/_sim/truth` shows; a CANCELED one has neither ref_id nor paid_at, for no money moved."""
    return [
        {
            "reference": session.form.reference,
            "product_code": session.form.product_code,
            "amount_paisa": session.form.amount_paisa,
            "ref_id": session.ref_id,
            "status": session.status,
            "paid_at": iso(session.paid_at),
            "refunded_paisa": session.refunded_paisa,
        }
        for session in sessions
    ]


def iso(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat()


def _code(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, len(CODE_DIGITS))
        digits = CODE_DIGITS[digit] + digits
    return digits.rjust(CODE_LENGTH, "0")
