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
UNDER_WAY: Final = frozenset({"reserving", "awaiting_payment", "verifying", "processing"})
QUIET_WITHIN_S: Final = 60.0
BAD_REQUEST: Final = 400
SERVER_ERROR: Final = 500


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
    """What the run knows beside the history: checkouts by customer as stored, seconds until it was quiet."""

    placed: Mapping[str, frozenset[str]]
    quiet_after_s: float | None
    quiet_within_s: float = QUIET_WITHIN_S


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
        nothing_is_stuck(ops),
        quiet_again(facts.quiet_after_s, facts.quiet_within_s),
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
    finding = Finding()
    for (_, key), same in _by_key(ops, PLACING | {"move item"}).items():
        answers = [op for op in same if op.answer.type == "ok"]
        told = {_told(op) for op in answers}
        if len(answers) > 1:
            finding.look(
                good=len(told) == 1, otherwise=f"key {key} was answered with {sorted(map(str, told))}"
            )
    return finding.checked("IDM-1", "Same caller, route and key: one effect, one answer")


def _told(op: Op) -> str:
    """What must be the same however often it is asked: a checkout moves on, a step of an item does not."""
    result = op.answer.result
    return _id(op) if op.asked.f in PLACING else f"{_id(op)} {result.get('status')} {result.get('version')}"


def same_key_other_body(ops: Sequence[Op]) -> Checked:
    finding = Finding()
    for op in ops:
        if op.asked.f == "check out otherwise" and op.answer.http_status is not None:
            good = op.answer.type != "ok"
            finding.look(
                good=good, otherwise=f"another body under key {op.asked.idempotency_key}: {_trace(op)}"
            )
    return finding.checked("IDM-2", "Same key, other body: refused, no effect")


def unclear_means_once(ops: Sequence[Op], placed: Mapping[str, frozenset[str]]) -> Checked:
    """Per customer: what is stored is what was answered, unless an outcome stayed unclear to the end."""
    finding = Finding()
    by_customer: defaultdict[str, list[list[Op]]] = defaultdict(list)
    for (customer, _), same in _by_key(ops, PLACING).items():
        by_customer[customer].append(same)
    for customer, keys in by_customer.items():
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
        if op.answer.type == "ok" or _is_refusal(op):
            good = op.answer.type == "ok" and bool(op.answer.result.get("items"))
            said = f"order {_of(op)} was confirmed, then {op.answer.http_status}: {_trace(op)}"
            finding.look(good=good, otherwise=said)
    return finding.checked("MON-9", "Who saw `confirmed` always finds the order with its items")


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
        if op.asked.f == "look at another's" and op.answer.http_status is not None:
            good = op.answer.type != "ok"
            finding.look(good=good, otherwise=f"a stranger saw checkout {_of(op)}: {_trace(op)}")
    return finding.checked("ACCESS", "What is not yours is not there")


def nothing_is_stuck(ops: Sequence[Op]) -> Checked:
    """The last look at every checkout, long after everything should have moved."""
    finding = Finding()
    for op in ops:
        if op.asked.f == "final look":
            stage = str(op.answer.result.get("stage", ""))
            good = op.answer.type == "ok" and stage not in UNDER_WAY
            finding.look(good=good, otherwise=f"checkout {_of(op)} is left {stage or 'unread'}: {_trace(op)}")
    return finding.checked("LIV-3", "Nothing is stuck: every checkout has reached an end")


def quiet_again(after_s: float | None, within_s: float = QUIET_WITHIN_S) -> Checked:
    finding = Finding()
    good = after_s is not None and after_s <= within_s
    said = "not quiet at all" if after_s is None else f"quiet only {after_s:.0f} s after the last fault"
    finding.look(good=good, otherwise=said)
    return finding.checked("LIV-1", f"Quiet again within {within_s:.0f} s of the last fault")
