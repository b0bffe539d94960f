"""The report of a run: faults by kind, orders, promises, how fast it healed, how hard it was."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from rich.console import Console

from infra.audit.report import Report as Audit
from infra.audit.report import show as show_audit
from tests.chaos.checker import Checked
from tests.chaos.history import Op
from tests.chaos.needs import LATE, REPEATED, SOLD_OUT, TWICE, UNCLEAR, Needs

NEMESIS: Final = "nemesis"
FELT: Final = frozenset({"check out", "poll", "look", "read order", "move item", "fill cart"})
READS: Final = frozenset({"look", "poll", "final look"})
WRITES: Final = frozenset({"check out", "move item", "cancel", "another attempt"})
SHOWN: Final = 10
LONGEST_REST_S: Final = 1.0
"""What begins within so long after a fault is still counted as during it."""


@dataclass(frozen=True, slots=True)
class Felt:
    """One fault as it was felt: what it hit, the slowest request during it, and when orders came again.

    `healed_after_s`: from its end until somebody saw `confirmed` of a checkout that was placed after it; None
    when nobody ever did.
    """

    kind: str
    fault: str
    injected: bool
    detail: str
    began_s: float
    lasted_s: float
    worst_latency_s: float
    healed_after_s: float | None


@dataclass(slots=True)
class Report:
    """Everything a run has found; `ok` is the verdict."""

    seed: int
    seconds: float
    faults: list[Felt]
    orders: Mapping[str, int]
    tension: Mapping[str, float]
    answers: Mapping[str, int]
    checks: Sequence[Checked]
    audit: Audit
    broken: Sequence[str] = ()
    quiet_after_s: float | None = None
    took_s: float = 0.0
    command: str = ""
    needs: Needs = field(default_factory=Needs)

    @property
    def injected(self) -> Counter[str]:
        return Counter(one.kind for one in self.faults if one.injected)

    @property
    def violations(self) -> int:
        """Of all promises, by the audit and by the history."""
        audited = sum(one.finding.count for one in self.audit.judged)
        return audited + sum(len(one.violations) for one in self.checks)

    @property
    def reasons(self) -> list[str]:
        """Why the run is red; nothing when it is green."""
        found = [f"{one.id}: {_verdict(one)}" for one in self.checks if not one.ok]
        found += [f"audit: {name} is broken" for name in self.audit.broken]
        found += [f"not quiet: {what}" for what in self.audit.moving]
        found += self.broken
        found += [f"audit: {name} had nothing to look at" for name in self.idle if self._had_work(name)]
        return found + self.too_little

    @property
    def idle(self) -> list[str]:
        """Promises of the audit that had nothing to look at, or could not look."""
        return self.audit.idle

    def _had_work(self, promise: str) -> bool:
        """Whether this run has given it something to look at."""
        match promise:
            case "STK-7":  # it looks at what is held, and when all is quiet nothing is
                return False
            case "EVT-8":
                return "poison records" in self.injected
            case "MON-5":
                return self.tension.get(TWICE, 0.0) > 0
            case _:
                return True

    @property
    def too_little(self) -> list[str]:
        """What the run has not done enough of to mean anything."""
        found, needs = [], self.needs
        if self.injected.total() < needs.faults:
            found.append(f"only {self.injected.total()} faults were done, of at least {needs.faults}")
        if len(self.injected) < needs.kinds:
            never = sorted({one.kind for one in self.faults} - self.injected.keys())
            found.append(f"only {len(self.injected)} kinds of faults were done, never: {', '.join(never)}")
        if self.confirmed < needs.orders:
            found.append(f"only {self.confirmed} orders were confirmed, of at least {needs.orders}")
        for name, least in needs.shares.items():
            if (share := self.tension.get(name, 0.0)) < least:
                found.append(f"too easy: {name} {share:.1%}, of at least {least:.1%}")
        return found

    @property
    def confirmed(self) -> int:
        return self.orders.get("confirmed", 0)

    @property
    def ok(self) -> bool:
        return not self.reasons

    def as_json(self) -> dict[str, Any]:
        names = ("seed", "seconds", "took_s", "quiet_after_s", "command", "orders", "tension", "answers")
        return {
            "ok": self.ok,
            "reasons": self.reasons,
            "violations": self.violations,
            "broken": list(self.broken),
            "needs": asdict(self.needs),
            "without_work": self.idle,
            **{name: getattr(self, name) for name in names},
            "faults": [asdict(one) for one in self.faults],
            "checks": [asdict(one) for one in self.checks],
            "audit": self.audit.as_json(),
        }


def _verdict(one: Checked) -> str:
    return f"{len(one.violations)} violations" if one.violations else "nothing was examined"


def felt(ops: Sequence[Op]) -> list[Felt]:
    """Each fault of the history with what it did to those who were shopping."""
    begun_ns = min((op.asked.t_mono_ns for op in ops), default=0)
    people = [op for op in ops if op.asked.client != NEMESIS and op.asked.f in FELT]
    through = _came_through(ops)
    return [
        _felt(op, people, through, begun_ns)
        for op in ops
        if op.asked.client == NEMESIS and op.answer.t_mono_ns < 2**62
    ]


def _of(op: Op) -> str:
    """The checkout or order that was read."""
    return str(op.asked.args.get("path", "")).rpartition("/")[2]


def _came_through(ops: Iterable[Op]) -> list[tuple[int, int]]:
    """When each confirmed checkout was first asked for, and when somebody first saw that it is confirmed."""
    keys: dict[str, int] = {}
    placed: dict[str, int] = {}
    confirmed: dict[str, int] = {}
    for op in ops:
        result, key = op.answer.result, op.asked.idempotency_key
        if op.asked.f == "check out" and key:
            begun = keys.setdefault(key, op.asked.t_mono_ns)
            if op.answer.type == "ok" and result.get("id"):
                placed.setdefault(str(result["id"]), begun)
        elif op.asked.f in READS and result.get("stage") == "confirmed":
            at = op.answer.t_mono_ns
            confirmed[_of(op)] = min(at, confirmed.get(_of(op), at))
    return [(placed[one], at) for one, at in confirmed.items() if one in placed]


def _felt(op: Op, people: Iterable[Op], through: Iterable[tuple[int, int]], begun_ns: int) -> Felt:
    begin, end = op.asked.t_mono_ns, op.answer.t_mono_ns
    until = end + LONGEST_REST_S * 1e9
    during = [one.took_s for one in people if begin <= one.asked.t_mono_ns <= until and one.took_s < 1e6]
    after = [confirmed - end for placed, confirmed in through if placed > end]
    return Felt(
        kind=op.asked.f,
        fault=str(op.asked.args.get("fault")),
        injected=op.answer.type == "ok",
        detail=str(op.answer.result.get("detail", "")),
        began_s=(begin - begun_ns) / 1e9,
        lasted_s=(end - begin) / 1e9,
        worst_latency_s=max(during, default=0.0),
        healed_after_s=min(after) / 1e9 if after else None,
    )


def orders_of(ops: Sequence[Op]) -> dict[str, int]:
    """How the checkouts ended, as last seen; those that were refused at once and never seen come apart."""
    looks = {_of(op): op for op in ops if op.asked.f == "final look"}
    reads = {_of(op): op for op in ops if op.asked.f == "final order"}
    last = Counter(str(op.answer.result.get("stage", "unread")) for op in looks.values())
    orders = Counter(f"order {op.answer.result.get('status', 'unread')}" for op in reads.values())
    refused = {op.answer.result.get("checkout_id") for op in ops if op.asked.f == "check out"} - {None}
    last["rejected at once"] = len(refused - looks.keys())
    return {"checkouts": last.total(), **dict(sorted(last.items())), **dict(sorted(orders.items()))}


def answers_of(ops: Sequence[Op]) -> dict[str, int]:
    """What people were answered: by status, with what should not be there named apart."""
    found: Counter[str] = Counter()
    for op in ops:
        if op.asked.client == NEMESIS or "path" not in op.asked.args:
            continue
        code = str(op.answer.result.get("code", ""))
        status = op.answer.http_status
        found[f"{status}" if status is not None else f"none: {code or 'never'}"] += 1
        if "WITHOUT_RETRY_AFTER" in code:
            found["503 without Retry-After"] += 1
    return dict(sorted(found.items()))


def tension_of(ops: Sequence[Op], faults: Sequence[Felt]) -> dict[str, float]:
    """Shares that say whether the run was hard enough to mean something."""
    placing = [op for op in ops if op.asked.f == "check out"]
    keys = Counter(op.asked.idempotency_key for op in placing)
    orders = orders_of(ops)
    refused = orders["rejected at once"] + orders.get("rejected", 0)
    writes = [op for op in ops if op.asked.f in WRITES]
    watched = [op for op in ops if op.asked.f == "watch"]
    pays = [op for op in ops if op.asked.f == "pay" and op.answer.type == "ok"]
    references = {(op.asked.args["checkout"], op.answer.result.get("reference")) for op in pays}
    paid = Counter(checkout for checkout, _ in references)
    late = {op.asked.args["checkout"] for op in pays if op.asked.args.get("late")}
    overlapping = sum(_overlaps(one, faults) for one in faults)
    return {
        SOLD_OUT: _share(refused, orders["checkouts"]),
        REPEATED: _share(sum(n > 1 for n in keys.values()), len(keys)),
        UNCLEAR: _share(sum(op.answer.type == "info" for op in writes), len(writes)),
        LATE: _share(len(late), len(paid)),
        TWICE: _share(sum(n > 1 for n in paid.values()), len(paid)),
        "faults that overlap": _share(overlapping, len(faults)),
        "watchers timed out": _share(sum(op.answer.type != "ok" for op in watched), len(watched)),
    }


def _overlaps(one: Felt, faults: Iterable[Felt]) -> bool:
    end = one.began_s + one.lasted_s
    return any(
        other is not one and other.began_s < end and one.began_s < other.began_s + other.lasted_s
        for other in faults
    )


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0


def show(report: Report, console: Console) -> None:
    """For people, as lines of text."""
    show_audit(report.audit, console)
    for one in report.checks:
        verdict = "kept" if one.ok else "BROKEN" if one.violations else "no work"
        _line(console, f"{verdict:8} {one.id:6} {one.examined:>8}  {one.says}")
        for violation in one.violations[:SHOWN]:
            _line(console, f"    {violation}")
    _show_faults(report, console)
    _line(console, "orders: " + _pairs(report.orders))
    _line(console, "answers: " + _pairs(report.answers))
    _line(console, "tension: " + ", ".join(f"{name} {share:.1%}" for name, share in report.tension.items()))
    quiet = "never" if report.quiet_after_s is None else f"{report.quiet_after_s:.1f} s"
    _line(console, f"quiet after the last fault: {quiet}; the run took {report.took_s:.0f} s")
    if report.idle:
        _line(console, "audit, nothing to look at: " + ", ".join(report.idle), "yellow")
    _line(console, _sum(report))
    for reason in report.reasons:
        _line(console, reason, "red")
    _line(console, "green" if report.ok else f"RED; again: {report.command}", "green" if report.ok else "red")


def _show_faults(report: Report, console: Console) -> None:
    for kind, count in sorted(report.injected.items()):
        of_kind = [one for one in report.faults if one.kind == kind and one.injected]
        worst = max(one.worst_latency_s for one in of_kind)
        said = f"{of_kind[0].fault:5} {kind:28} {count:>4}   worst latency {worst:6.2f} s"
        _line(console, f"{said}   slowest heal {slowest_heal(of_kind)}")
    for one in report.faults:
        if not one.injected:
            _line(console, f"not done: {one.kind} at {one.began_s:.0f} s: {one.detail}", "yellow")


def slowest_heal(faults: Iterable[Felt]) -> str:
    """The longest of them; `never` where no order came any more, as after the last fault of a run."""
    heals = [one.healed_after_s for one in faults]
    known = [heal for heal in heals if heal is not None]
    never = len(heals) - len(known)
    if not known:
        return "never"
    return f"{max(known):6.2f} s" + (f" (never: {never})" if never else "")


def _sum(report: Report) -> str:
    """The whole run in a line."""
    total, kinds = report.injected.total(), len(report.injected)
    done = f"seed {report.seed}: {total} faults of {kinds} kinds, {report.confirmed} orders"
    slowest = slowest_heal(one for one in report.faults if one.injected)
    return f"{done}, {report.violations} violations, slowest heal {slowest.strip()}"


def _pairs(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _line(console: Console, text: str, style: str = "") -> None:
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)
