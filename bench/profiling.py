"""Where the CPU time of each service goes under load, so that a missed figure is explained by a place."""

from collections import Counter
from typing import Any, Final

from bench.ground import Ground
from bench.load import closed_loop, open_loop, poisson
from bench.ours.contender import Services
from bench.results import Report

TOP: Final = 14


async def measure(ground: Ground, *, orders: int, batch: int, rate: int | None) -> Report:
    """One profiled run, closed loop or at a rate; milliseconds of CPU per order, by process and by place."""
    services = Services(ground, batch, profiled=True)
    if rate is None:
        run = await closed_loop(services, ground, orders, 20 * batch + 200, 180)
    else:
        run = await open_loop(services, ground, poisson(rate, orders / rate), 180)
    title = f"Python CPU by place: {run.rate:,.0f} orders/s, {run.cpu}"
    report = Report("profile", title, ("process", "place", "ms/order own", "ms/order within", "share"))
    for process, profile in run.noticed["profiles"].items():
        _add(report, process, profile, run.orders)
    return report


def _add(report: Report, process: str, profile: dict[str, Any], orders: int) -> None:
    samples = max(1, profile["samples"])
    ms = profile["cpu_s"] * 1e3 / samples / orders  # what one sample stands for, per order
    areas: Counter[str] = Counter()
    for place, count in profile["own"]:
        areas[area(place)] += count
    report.add(process, "all", round(samples * ms, 4), "", "100%")
    for name, count in areas.most_common(TOP):
        report.add(process, f"module {name}", round(count * ms, 4), "", f"{count / samples:.0%}")
    within = dict(profile["within"])
    for place, count in profile["own"][:TOP]:
        in_all = round(within.get(place, 0) * ms, 4)
        report.add(process, f"function {place}", round(count * ms, 4), in_all, f"{count / samples:.0%}")
    for place, count in profile["lines"][: 4 * TOP]:
        report.add(process, f"for {place}", round(count * ms, 4), "", f"{count / samples:.0%}")
    for place, count in profile["within"][: 4 * TOP]:
        report.add(process, f"under {place}", "", round(count * ms, 4), f"{count / samples:.0%}")


def area(place: str) -> str:
    """The library, or the module of ours, that a place belongs to."""
    path = place.partition(":")[0]
    parts = path.split("/")
    if "services" in parts:
        return "/".join(parts[parts.index("services") :][:3])
    return parts[0] if len(parts) > 1 else path
