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

NEMESIS: Final = "nemesis"
FELT: Final = frozenset({"check out", "poll", "look", "read order", "move item", "fill cart"})
WRITES: Final = frozenset({"check out", "move item", "cancel", "another attempt"})
SHOWN: Final = 10
LONGEST_REST_S: Final = 1.0
"""What begins within so long after a fault is still counted as during it."""


@dataclass(frozen=True, slots=True)
class Felt:
    """One fault as it was felt: what it hit, the slowest request during it, and when orders came again.

    `healed_after_s` is None when nobody checked out any more after it.
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
    broken_clients: Sequence[str] = ()
    quiet_after_s: float | None = None
    took_s: float = 0.0
    command: str = ""
    needs: Mapping[str, int] = field(default_factory=dict)

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
        found += [f"a client broke: {what}" for what in self.broken_clients]
        if self.injected.total() < self.needs.get("faults", 0):
            found.append(f"only {self.injected.total()} faults were done")
        if len(self.injected) < self.needs.get("kinds", 0):
            found.append(f"only {len(self.injected)} kinds of faults were done")
        return found

    @property
    def ok(self) -> bool:
        return not self.reasons

    def as_json(self) -> dict[str, Any]:
        names = ("seed", "seconds", "took_s", "quiet_after_s", "command", "orders", "tension", "answers")
        return {
            "ok": self.ok,
            "reasons": self.reasons,
            "violations": self.violations,
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
    placed = [op for op in people if op.asked.f == "check out" and op.answer.type == "ok"]
    return [
        _felt(op, people, placed, begun_ns)
        for op in ops
        if op.asked.client == NEMESIS and op.answer.t_mono_ns < 2**62
    ]


def _felt(op: Op, people: Iterable[Op], placed: Iterable[Op], begun_ns: int) -> Felt:
    begin, end = op.asked.t_mono_ns, op.answer.t_mono_ns
    until = end + LONGEST_REST_S * 1e9
    during = [one.took_s for one in people if begin <= one.asked.t_mono_ns <= until and one.took_s < 1e6]
    after = [one.answer.t_mono_ns - end for one in placed if one.asked.t_mono_ns > end]
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
    """How the checkouts ended, as last seen."""
    last = Counter(str(op.answer.result.get("stage", "unread")) for op in ops if op.asked.f == "final look")
    orders = Counter(
        f"order {op.answer.result.get('status', 'unread')}" for op in ops if op.asked.f == "final order"
    )
    refused = {op.answer.result.get("checkout_id") for op in ops if op.asked.f == "check out"} - {None}
    last["rejected at once"] = len(refused)
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
        "sold out, of checkouts": _share(refused, orders["checkouts"]),
        "asked more than once, of keys": _share(sum(n > 1 for n in keys.values()), len(keys)),
        "unclear outcome, of writes": _share(sum(op.answer.type == "info" for op in writes), len(writes)),
        "paid late, of paid": _share(len(late), len(paid)),
        "two attempts paid, of paid": _share(sum(n > 1 for n in paid.values()), len(paid)),
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
    _line(console, _sum(report))
    for reason in report.reasons:
        _line(console, reason, "red")
    _line(console, "green" if report.ok else f"RED; again: {report.command}", "green" if report.ok else "red")


def _show_faults(report: Report, console: Console) -> None:
    for kind, count in sorted(report.injected.items()):
        of_kind = [one for one in report.faults if one.kind == kind and one.injected]
        heals = [one.healed_after_s for one in of_kind if one.healed_after_s is not None]
        worst, heal = max(one.worst_latency_s for one in of_kind), max(heals, default=0.0)
        said = f"{of_kind[0].fault:5} {kind:28} {count:>4}   worst latency {worst:6.2f} s"
        _line(console, f"{said}   slowest heal {heal:6.2f} s")
    for one in report.faults:
        if not one.injected:
            _line(console, f"not done: {one.kind} at {one.began_s:.0f} s: {one.detail}", "yellow")


def _sum(report: Report) -> str:
    """The whole run in a line."""
    heals = [one.healed_after_s for one in report.faults if one.healed_after_s is not None]
    slowest = max(heals, default=0.0)
    total, kinds, orders = report.injected.total(), len(report.injected), report.orders.get("confirmed", 0)
    done = f"seed {report.seed}: {total} faults of {kinds} kinds, {orders} orders"
    return f"{done}, {report.violations} violations, slowest heal {slowest:.1f} s"


def _pairs(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _line(console: Console, text: str, style: str = "") -> None:
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)
