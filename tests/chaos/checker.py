"""What must be true of a history, whatever was broken meanwhile; it knows nothing of the services."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tests.chaos.history import Op

PLACING: Final = frozenset({"check out"})
CHECKOUT_READS: Final = frozenset({"look", "poll", "final look"})
ORDER_READS: Final = frozenset({"read order", "final order"})
TERMINAL: Final = frozenset({"delivered", "cancelled"})
ENDS: Final = frozenset(
    {"confirmed", "rejected", "payment_failed", "expired", "cancelled", "refund_pending", "refunded"}
)
"""Where a checkout may be left; `on_hold` too, while a case about it is open."""
QUIET_WITHIN_S: Final = 60.0
BAD_REQUEST: Final = 400
NOT_FOUND: Final = 404
UNPROCESSABLE: Final = 422
SERVER_ERROR: Final = 500
UNAVAILABLE: Final = 503


@dataclass(frozen=True, slots=True)
class Checked:
    """One promise about the history: nothing examined means that nothing was shown."""

    id: str
    says: str
    examined: int
    violations: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return self.examined > 0 and not self.violations


@dataclass(frozen=True, slots=True)
class Facts:
    """What the run knows beside the history.

    `placed`: the checkouts of each customer as stored, None when nobody could tell; `quiet_after_s`: seconds
    from the end of the last fault; `in_review`: the checkouts about which a case is open.
    """

    placed: Mapping[str, frozenset[str]] | None
    quiet_after_s: float | None
    in_review: frozenset[str] = frozenset()


@dataclass(slots=True)
class Finding:
    """A check being made."""

    examined: int = 0
    violations: list[str] = field(default_factory=list)

    def look(self, *, good: bool, otherwise: str) -> None:
        self.examined += 1
        if not good:
            self.violations.append(otherwise)

    def checked(self, id_: str, says: str) -> Checked:
        return Checked(id_, says, self.examined, tuple(self.violations))


def check(ops: Sequence[Op], facts: Facts) -> list[Checked]:
    """Every promise that a history can break."""
    return [
        same_key_same_answer(ops),
        same_key_other_body(ops),
        unclear_means_once(ops, facts.placed),
        no_early_success(ops),
        never_delivered_too_early(ops),
        readers_never_go_back(ops),
        not_yours_is_not_there(ops),
        nothing_is_stuck(ops, facts.placed, facts.in_review),
        answers_are_right(ops),
        quiet_again(facts.quiet_after_s),
    ]


def _of(op: Op) -> str:
    """The checkout or order an operation was about."""
    return str(op.asked.args.get("path", "")).rpartition("/")[2]


def _id(op: Op) -> str:
    """The checkout that a placing was answered with."""
    result = op.answer.result
    return str(result.get("id") or result.get("checkout_id") or "")


def _trace(op: Op) -> str:
    return f"trace {op.asked.trace_id}"


def _by_key(ops: Iterable[Op], names: frozenset[str]) -> dict[tuple[str, str], list[Op]]:
    found: defaultdict[tuple[str, str], list[Op]] = defaultdict(list)
    for op in ops:
        if op.asked.f in names and op.asked.idempotency_key:
            found[str(op.asked.args.get("customer")), op.asked.idempotency_key].append(op)
    return found


def same_key_same_answer(ops: Sequence[Op]) -> Checked:
    """One that was answered stays answered: a refusal that began later has forgotten it."""
    finding = Finding()
    for (_, key), same in _by_key(ops, PLACING | {"move item"}).items():
        answers = [op for op in same if op.answer.type == "ok"]
        forgotten = _refused_after(answers, same)
        told = {_told(op) for op in answers} | {_refusal(op) for op in forgotten}
        if len(answers) > 1 or forgotten:
            finding.look(
                good=len(told) == 1, otherwise=f"key {key} was answered with {sorted(map(str, told))}"
            )
    return finding.checked("IDM-1", "Same caller, route and key: one effect, one answer")


def _refused_after(answers: Sequence[Op], same: Sequence[Op]) -> list[Op]:
    first = min((op.answer.t_mono_ns for op in answers), default=None)
    return [op for op in same if first is not None and op.asked.t_mono_ns > first and _is_refusal(op)]


def _refusal(op: Op) -> str:
    return f"{op.answer.http_status} {op.answer.result.get('code', '')} {_trace(op)}"


def _told(op: Op) -> str:
    """What must be the same however often it is asked: a checkout moves on, a step of an item does not."""
    result = op.answer.result
    return _id(op) if op.asked.f in PLACING else f"{_id(op)} {result.get('status')} {result.get('version')}"


def same_key_other_body(ops: Sequence[Op]) -> Checked:
    """The key was answered before, so there is one right answer; an unclear one says nothing."""
    finding = Finding()
    for op in ops:
        if op.asked.f == "check out otherwise" and _is_clear([op]):
            code = op.answer.result.get("code")
            good = op.answer.http_status == UNPROCESSABLE and code == "IDEMPOTENCY_KEY_REUSED"
            said = f"another body under key {op.asked.idempotency_key}: {_refusal(op)}"
            finding.look(good=good, otherwise=said)
    return finding.checked("IDM-2", "Same key, other body: refused as that, no effect")


def unclear_means_once(ops: Sequence[Op], placed: Mapping[str, frozenset[str]] | None) -> Checked:
    """Per customer: what is stored is what was answered, unless an outcome stayed unclear to the end."""
    finding = Finding()
    by_customer: defaultdict[str, list[list[Op]]] = defaultdict(list)
    for (customer, _), same in _by_key(ops, PLACING).items():
        by_customer[customer].append(same)
    for customer, keys in by_customer.items() if placed is not None else ():
        assert placed is not None
        stored = placed.get(customer, frozenset())
        told = {_id(op) for same in keys for op in same if op.answer.type == "ok"} - {""}
        unclear = [same for same in keys if not _is_clear(same)]
        if any(op.answer.type == "info" for same in keys for op in same):
            finding.examined += 1
        if told - stored:
            finding.violations.append(
                f"customer {customer} was told of {sorted(told - stored)}, stored nowhere"
            )
        if len(stored - told) > len(unclear):
            finding.violations.append(f"customer {customer} was never told of {sorted(stored - told)}")
    return finding.checked("IDM-3", "After an unclear outcome the same key ends in exactly one effect")


def _is_clear(same: Sequence[Op]) -> bool:
    """Whether its client came to know what became of this key."""
    return any(op.answer.type == "ok" or _is_refusal(op) for op in same)


def _is_refusal(op: Op) -> bool:
    status = op.answer.http_status
    return op.answer.type == "fail" and status is not None and BAD_REQUEST <= status < SERVER_ERROR


def no_early_success(ops: Sequence[Op]) -> Checked:
    finding = Finding()
    confirmed: dict[str, int] = {}
    for op in ops:
        if op.asked.f in CHECKOUT_READS and op.answer.result.get("stage") == "confirmed":
            at = op.answer.t_mono_ns
            confirmed[_of(op)] = min(at, confirmed.get(_of(op), at))
    for op in ops:
        since = confirmed.get(_of(op))
        if op.asked.f not in ORDER_READS or since is None or op.asked.t_mono_ns < since:
            continue
        if _is_clear([op]):
            good = op.answer.type == "ok" and bool(op.answer.result.get("items"))
            said = f"order {_of(op)} was confirmed, then {op.answer.http_status}: {_trace(op)}"
            finding.look(good=good, otherwise=said)
    _read_at_the_end(finding, ops)
    return finding.checked("MON-9", "Who saw `confirmed` always finds the order with its items")


def _read_at_the_end(finding: Finding, ops: Sequence[Op]) -> None:
    """An order that could not be read when all was quiet was not found, whatever the reason."""
    read = {_of(op) for op in ops if op.asked.f == "final order" and _is_clear([op])}
    for checkout, look in _last_looks(ops).items():
        if look.answer.result.get("stage") == "confirmed":
            said = f"order {checkout} is confirmed and could not be read at the end: {_trace(look)}"
            finding.look(good=checkout in read, otherwise=said)


def _last_looks(ops: Iterable[Op]) -> dict[str, Op]:
    """By checkout, the last time that it was asked for."""
    return {_of(op): op for op in ops if op.asked.f == "final look"}


def never_delivered_too_early(ops: Sequence[Op]) -> Checked:
    finding = Finding()
    for op in ops:
        if op.asked.f in ORDER_READS and op.answer.result.get("status") == "delivered":
            items = {str(one.get("status")) for one in op.answer.result.get("items", ())}
            good = "delivered" in items and items <= TERMINAL
            finding.look(good=good, otherwise=f"order {_of(op)} delivered, its items {items}: {_trace(op)}")
    return finding.checked("ORD-2", "No order is seen delivered before all its items are done")


@dataclass(frozen=True, slots=True)
class Sighting:
    """A version of something, seen by a request that was begun and answered at these times."""

    what: str
    version: int
    begun: int
    seen: int
    is_read: bool
    trace: str


def readers_never_go_back(ops: Sequence[Op]) -> Checked:
    """A read that began after another was answered, or after a write was acknowledged, is as new as that."""
    finding = Finding()
    by_what: defaultdict[str, list[Sighting]] = defaultdict(list)
    for op in ops:
        for one in _sightings(op):
            by_what[one.what].append(one)
    for sightings in by_what.values():
        _look_in_order(finding, sightings)
    return finding.checked("ORD-5", "Readers never go back in time")


def _sightings(op: Op) -> Iterator[Sighting]:
    result, f = op.answer.result, op.asked.f
    if op.answer.type != "ok":
        return
    if f in CHECKOUT_READS:
        yield _sighting(op, f"checkout {_of(op)}", result, is_read=True)
    if f in ORDER_READS:
        yield _sighting(op, f"order {_of(op)}", result, is_read=True)
        for item in result.get("items", ()):
            yield _sighting(op, f"item {item.get('id')}", item, is_read=True)
    if f == "move item":  # a repeated one is answered as the first was, so it is no read
        yield _sighting(op, f"item {result.get('id')}", result, is_read=False)


def _sighting(op: Op, what: str, seen: Mapping[str, Any], *, is_read: bool) -> Sighting:
    version = int(seen.get("version", 0))
    return Sighting(what, version, op.asked.t_mono_ns, op.answer.t_mono_ns, is_read, _trace(op))


def _look_in_order(finding: Finding, sightings: Sequence[Sighting]) -> None:
    answered = sorted(sightings, key=lambda one: one.seen)
    newest, place = 0, 0
    for one in sorted(sightings, key=lambda one: one.begun):
        while place < len(answered) and answered[place].seen < one.begun:
            newest = max(newest, answered[place].version)
            place += 1
        if one.is_read and newest:
            said = f"{one.what}: version {one.version} after {newest}, {one.trace}"
            finding.look(good=one.version >= newest, otherwise=said)


def not_yours_is_not_there(ops: Sequence[Op]) -> Checked:
    finding = Finding()
    for op in ops:
        if op.asked.f == "look at another's" and _is_clear([op]):
            good = op.answer.http_status == NOT_FOUND
            said = f"a stranger who asked for checkout {_of(op)} was told {_refusal(op)}"
            finding.look(good=good, otherwise=said)
    return finding.checked("ACCESS", "What is not yours is not there")


def nothing_is_stuck(
    ops: Sequence[Op],
    placed: Mapping[str, frozenset[str]] | None = None,
    in_review: frozenset[str] = frozenset(),
) -> Checked:
    """The last look at every checkout, told of or only stored, long after everything should have moved."""
    finding, looks = Finding(), _last_looks(ops)
    for checkout, op in looks.items():
        stage = str(op.answer.result.get("stage", ""))
        is_over = stage in ENDS or (stage == "on_hold" and checkout in in_review)
        said = f"checkout {checkout} is left {stage or 'unread'}: {_trace(op)}"
        finding.look(good=op.answer.type == "ok" and is_over, otherwise=said)
    for customer in sorted({customer for customer, _ in _by_key(ops, PLACING)}):
        for checkout in sorted((placed or {}).get(customer, frozenset()) - looks.keys()):
            finding.look(good=False, otherwise=f"checkout {checkout} is stored and was not looked at")
    return finding.checked("LIV-3", "Nothing is stuck: every checkout has reached an end")


def answers_are_right(ops: Sequence[Op]) -> Checked:
    """Whatever is broken behind the gateway, people are told so in a way that it means."""
    finding = Finding()
    for op in ops:
        status, code = op.answer.http_status, str(op.answer.result.get("code", ""))
        if status is not None:
            is_mistake = status >= SERVER_ERROR and status != UNAVAILABLE
            good = not is_mistake and "WITHOUT_RETRY_AFTER" not in code
            finding.look(good=good, otherwise=f"{op.asked.f} was answered {_refusal(op)}")
    return finding.checked("ANSWER", "No answer is a 500, and every 503 says when to come again")


def quiet_again(after_s: float | None) -> Checked:
    finding = Finding()
    good = after_s is not None and after_s <= QUIET_WITHIN_S
    said = "not quiet at all" if after_s is None else f"quiet only {after_s:.0f} s after the last fault"
    finding.look(good=good, otherwise=said)
    return finding.checked("LIV-1", f"Quiet again within {QUIET_WITHIN_S:.0f} s of the last fault")
