"""What can go wrong on command: the faults, and the book that decides which request meets one."""

import random
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Operation = Literal["form", "status", "return"]
LONGEST_S = 600.0
LARGEST_BYTES = 64 * 1024 * 1024


class _Fault(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    operations: ClassVar[frozenset[Operation]] = frozenset({"form", "status", "return"})


class _CarriageFault(_Fault):
    """Something between the gateway's decision and the caller; `effect` False undoes the decision too."""

    effect: bool = True


class Delay(_CarriageFault):
    """Answers late: after `seconds`, or after a seeded draw between `seconds` and `up_to_seconds`.

    Without effect the late answer is a 503 and nothing was done.
    """

    kind: Literal["delay"] = "delay"
    seconds: float = Field(ge=0, le=LONGEST_S)
    up_to_seconds: float | None = Field(default=None, ge=0, le=LONGEST_S)


class Hang(_CarriageFault):
    """Accepts the request and never answers, until the caller goes away."""

    kind: Literal["hang"] = "hang"


class Drip(_CarriageFault):
    """Sends the body a few bytes at a time."""

    kind: Literal["drip"] = "drip"
    chunk_bytes: int = Field(default=1, ge=1)
    pause_s: float = Field(default=0.05, ge=0, le=LONGEST_S)


class Reset(_CarriageFault):
    """Sends half of the body, then resets the connection."""

    kind: Literal["reset"] = "reset"


class Redirect(_CarriageFault):
    """Sends the caller to another host."""

    kind: Literal["redirect"] = "redirect"
    location: str = "http://elsewhere.invalid/"
    status: Literal[301, 302, 303, 307, 308] = 302
    effect: bool = False


class Http(_CarriageFault):
    """Any HTTP status with any body: 502 in HTML, 503 with Retry-After, 429, 200 with half a JSON."""

    kind: Literal["http"] = "http"
    status: int = Field(default=500, ge=200, le=599)
    body: Literal["html", "empty", "json", "truncated"] = "html"
    retry_after_s: int | None = Field(default=None, ge=0)
    effect: bool = False


class Oversized(_CarriageFault):
    """The true answer, blown up with white space a JSON parser would accept."""

    kind: Literal["oversized"] = "oversized"
    size_bytes: int = Field(default=10 * 1024 * 1024, ge=1, le=LARGEST_BYTES)


class ErrorBody(_CarriageFault):
    """eSewa's own error shape, by default under HTTP 200."""

    kind: Literal["error_body"] = "error_body"
    message: str = "Service is currently unavailable"
    code: int = 0
    status: int = Field(default=200, ge=200, le=599)
    effect: bool = False


class _StatusFault(_Fault):
    operations = frozenset({"status"})


class WrongAmount(_StatusFault):
    kind: Literal["wrong_amount"] = "wrong_amount"
    delta_paisa: int = -100


class OtherProductCode(_StatusFault):
    kind: Literal["other_product_code"] = "other_product_code"
    value: str = "SOMEONEELSE"


class OtherUuid(_StatusFault):
    kind: Literal["other_uuid"] = "other_uuid"
    value: str = "another-payment"


class MissingRefId(_StatusFault):
    kind: Literal["missing_ref_id"] = "missing_ref_id"
    how: Literal["null", "absent", "empty"] = "null"


class OtherStatus(_StatusFault):
    """Any word as status: an unknown one, a wrong case, PENDING, AMBIGUOUS for ever."""

    kind: Literal["status"] = "status"
    showing: str


class Lag(_StatusFault):
    """Shows `showing` for the first `polls` polls after the payment, then the truth.

    Polls are counted for each payment by itself, and `times` counts payments.
    """

    kind: Literal["lag"] = "lag"
    showing: str = "NOT_FOUND"
    polls: int = Field(default=2, ge=1)

    @property
    def last_poll(self) -> int:
        return self.polls


class Move(_StatusFault):
    """Shows the truth, or `showing`, for `after_polls` polls; then the payment itself is moved.

    Polls are counted for each payment by itself, and `times` counts payments.
    """

    kind: Literal["move"] = "move"
    to: Literal["REVERSED", "REFUNDED", "PARTIALLY_REFUNDED"]
    after_polls: int = Field(default=1, ge=0)
    showing: str | None = None

    @property
    def last_poll(self) -> int:
        return self.after_polls + 1


class NoReturn(_Fault):
    """The tab is closed: money moves, and no redirect tells anybody."""

    operations = frozenset({"return"})
    kind: Literal["no_return"] = "no_return"


class ReturnShape(_Fault):
    """How a browser return differs from the honest one; all defaults together change nothing.

    `tamper` replaces values after signing; `sign_with` is a wrong key; `reflected` re-uses the
    request's own signature and list; `reordered` signs the right fields in another order; `extra`,
    `drop` and `duplicate` change the set of JSON keys. `to="success"` without a payment invents one.
    """

    operations = frozenset({"return"})
    kind: Literal["return"] = "return"
    to: Literal["outcome", "success", "failure"] = "outcome"
    without_data: bool = False
    tamper: dict[str, str] = Field(default_factory=dict)
    sign_with: str | None = None
    reflected: bool = False
    reordered: bool = False
    extra: dict[str, str] = Field(default_factory=dict)
    drop: tuple[str, ...] = Field(default=(), strict=False)
    duplicate: str | None = None
    comma_amount: bool | None = None
    numeric_amount: bool | None = None


Carriage = Delay | Hang | Drip | Reset | Redirect | Http | Oversized | ErrorBody
StatusFault = WrongAmount | OtherProductCode | OtherUuid | MissingRefId | OtherStatus | Lag | Move
Fault = Carriage | StatusFault | NoReturn | ReturnShape


class Match(BaseModel):
    """Which requests a rule is about; `nth` is the first matching request it touches, from 1."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    gateway: Literal["esewa"] = "esewa"
    op: Operation
    ref: str | None = None
    nth: int = Field(default=1, ge=1)


class Rule(BaseModel):
    """One order to go wrong; `times` None means for ever."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    match: Match
    fault: Annotated[Fault, Field(discriminator="kind")]
    times: int | None = Field(default=1, ge=1)
    probability: float = Field(default=1.0, gt=0, le=1)
    seed: int = 0

    @model_validator(mode="after")
    def _fault_fits_the_operation(self) -> "Rule":
        if self.match.op not in self.fault.operations:
            raise ValueError(f"fault {self.fault.kind} cannot happen to op {self.match.op}")
        return self


@dataclass(slots=True)
class Standing:
    """A rule in force, with what it has done so far."""

    id: int
    rule: Rule
    chance: random.Random
    matched: int = 0
    fired: int = 0
    polls: dict[str, int] = field(default_factory=dict)

    def meets(self, operation: Operation, reference: str) -> bool:
        match = self.rule.match
        if match.op != operation or match.ref not in (None, reference):
            return False
        if reference in self.polls:
            return True
        return self._admits()

    def meets_status(self, reference: str, *, paid: bool) -> bool:
        counts_polls = isinstance(self.rule.fault, Lag | Move)
        return (paid or not counts_polls) and self.meets("status", reference)

    def _admits(self) -> bool:
        self.matched += 1
        if self.matched < self.rule.match.nth or self.fired == self.rule.times:
            return False
        if self.rule.probability < 1 and self.chance.random() >= self.rule.probability:
            return False
        self.fired += 1
        return True

    def next_poll(self, reference: str) -> int:
        self.polls[reference] = self.polls.get(reference, 0) + 1
        return self.polls[reference]


@dataclass(slots=True)
class FaultBook:
    """The rules in the order they came; of each sort the first that meets a request wins."""

    standing: list[Standing] = field(default_factory=list)
    added: int = 0

    def add(self, rule: Rule) -> Standing:
        self.added += 1
        seeded = random.Random(rule.seed)
        self.standing.append(Standing(id=self.added, rule=rule, chance=seeded))
        return self.standing[-1]

    def withdraw(self, number: int) -> Standing | None:
        """The rule of that id, in force no more; None when it was not."""
        found = next((one for one in self.standing if one.id == number), None)
        if found is not None:
            self.standing.remove(found)
        return found

    def clear(self) -> None:
        self.standing.clear()

    def carriage(self, operation: Operation, reference: str) -> tuple[Carriage, random.Random] | None:
        for one in self.standing:
            fault = one.rule.fault
            if isinstance(fault, Carriage) and one.meets(operation, reference):
                return fault, one.chance
        return None

    def return_fault(self, reference: str) -> NoReturn | ReturnShape | None:
        for one in self.standing:
            fault = one.rule.fault
            if isinstance(fault, NoReturn | ReturnShape) and one.meets("return", reference):
                return fault
        return None

    def status_fault(self, reference: str, *, paid: bool) -> tuple[StatusFault, int] | None:
        """The fault and, for one that counts polls, which poll of this payment this is."""
        for one in self.standing:
            fault = one.rule.fault
            if not isinstance(fault, StatusFault) or not one.meets_status(reference, paid=paid):
                continue
            if not isinstance(fault, Lag | Move):
                return fault, 0
            poll = one.next_poll(reference)
            if poll <= fault.last_poll:
                return fault, poll
        return None
