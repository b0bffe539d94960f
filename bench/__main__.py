"""The commands of the benchmark suite: each prints one table and fails when a gate is missed."""

import logging
from collections.abc import Awaitable, Callable
from typing import Annotated

import structlog
import typer
import uvloop

from bench import (
    backlog,
    by_http,
    counts,
    everything,
    gates,
    limits,
    memory,
    pipeline,
    poison,
    profiling,
    relay,
    restart,
    rollup,
)
from bench.ground import Ground, ground
from bench.results import Report

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)

Batches = Annotated[str, typer.Option(help="Largest batches to try, separated by commas.")]
Rates = Annotated[
    str, typer.Option(help="Orders per second of the open loop, separated by commas; 'none' for none.")
]


def _run(measure: Callable[[Ground], Awaitable[Report]], *, kafka: bool = True) -> None:
    """The command on fresh servers; its exit code says whether every gate was met."""
    _hush()

    async def on_ground() -> int:
        async with ground(kafka=kafka) as made:
            return (await measure(made)).finish(made)

    raise typer.Exit(uvloop.run(on_ground()))


def _hush() -> None:
    """What tortures and producers have to say about the blows they take would bury the table."""
    logging.disable(logging.ERROR)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def _numbers(text: str) -> tuple[int, ...]:
    return () if text == "none" else tuple(int(one) for one in text.split(","))


@app.command("limits")
def limits_() -> None:
    """What the disk, PostgreSQL and the broker can do at all."""
    _run(limits.measure)


@app.command("pipeline")
def pipeline_(  # noqa: PLR0913 - the options of a command are its arguments
    *,
    peer: Annotated[str, typer.Option(help="job-queue, or none.")] = "job-queue",
    batch: Batches = "1,10,50,200,500",
    rate: Rates = "100",
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    scale: Annotated[float, typer.Option(help="Of the orders of a round.")] = 1.0,
    best_peers_only: Annotated[bool, typer.Option(help="4 workers only.")] = False,
    one_process: Annotated[bool, typer.Option(help="All services in one process, too.")] = False,
    trace: Annotated[bool, typer.Option(help="Compare with traces recorded.")] = False,
    http: Annotated[bool, typer.Option(help="Checkouts enter by HTTP, through the same front.")] = False,
) -> None:
    """Checkout to finalized order, beside the design it replaces."""
    workers = (4,) if best_peers_only else (1, 4, 16)
    plan = pipeline.Plan(
        batches=_numbers(batch),
        rates=_numbers(rate),
        rounds=rounds,
        peers=[(mode, count) for mode in ("1tx", "3tx") for count in workers] if peer == "job-queue" else (),
        scale=scale,
        trace=trace,
        layouts=("process per service", "one process") if one_process else ("process per service",),
    )
    table = by_http.measure if http else pipeline.measure
    _run(lambda made: table(made, plan))


@app.command("counts")
def counts_(
    *, statements: Annotated[bool, typer.Option(help="Also PostgreSQL's time by statement.")] = False
) -> None:
    """Commits, WAL, rows and statements per order."""
    _run(lambda made: counts.measure(made, statements=statements))


@app.command("relay")
def relay_(events: Annotated[int, typer.Option(min=1000)] = 50_000) -> None:
    """Events drained from the outbox, beside a bare producer."""
    _run(lambda made: relay.measure(made, events))


@app.command("rollup")
def rollup_(rounds: Annotated[int, typer.Option(min=1)] = 1000) -> None:
    """All vendors of one order deliver at once."""
    _run(lambda made: rollup.measure(made, rounds), kafka=False)


@app.command("gates")
def gates_(
    share: Annotated[float, typer.Option(help="Of full length.", min=0.01, max=1.0)] = 1.0,
    only: Annotated[int, typer.Option(help="One gate by its number; 0: all.")] = 0,
) -> None:
    """The gates of outbox and inbox, each with its negative control."""
    _run(lambda made: gates.measure(made, share, only), kafka=only in gates.NEED_A_BROKER)


@app.command("backlog")
def backlog_(
    *,
    rate: Annotated[float, typer.Option(min=0.1, help="Orders per second.")] = 20.0,
    minutes: Annotated[float, typer.Option(min=0.05, help="For how long the broker is away.")] = 15.0,
    most_rows: Annotated[int, typer.Option(min=1, help="Unpublished rows that may wait.")] = 20_000,
    most_age: Annotated[float, typer.Option(min=0.1, help="Seconds the oldest may wait.")] = 120.0,
) -> None:
    """The broker away under load: what is taken, and how fast it is caught up with."""
    plan = backlog.Plan(rate, 60 * minutes, most_rows, most_age)
    _run(lambda made: backlog.measure(made, plan))


@app.command("poison")
def poison_(
    *,
    orders: Annotated[int, typer.Option(min=50, help="In each run.")] = 1000,
    rate: Annotated[float, typer.Option(min=1, help="Orders per second.")] = 20.0,
) -> None:
    """A poisoned record among many orders: what the others feel, and how it is found and put right."""
    _run(lambda made: poison.measure(made, orders, rate))


@app.command("restart")
def restart_(
    *,
    buyers: Annotated[int, typer.Option(min=1, help="People who buy one thing after the other.")] = 6,
    rounds: Annotated[int, typer.Option(min=1, help="How often each process is restarted.")] = 2,
) -> None:
    """Rolling restart of two of everything under load: what requests meet, and whether anything is stuck."""
    _hush()
    raise typer.Exit(uvloop.run(restart.measure(buyers, rounds)).finish())


@app.command("memory")
def memory_() -> None:
    """What every process holds when nothing happens."""
    _hush()
    raise typer.Exit(uvloop.run(memory.measure()).finish())


@app.command("all")
def all_() -> None:
    """Every measurement, one after the other; about 75 minutes. `profile` only looks, and is none."""
    raise typer.Exit(min(1, everything.measure(typer.echo)))


@app.command("profile")
def profile_(
    orders: int = 6_000,
    batch: int = 500,
    rate: Annotated[int, typer.Option(help="0: as many as can be.")] = 0,
) -> None:
    """Where the CPU time of each service goes."""
    _run(lambda made: profiling.measure(made, orders=orders, batch=batch, rate=rate or None))


if __name__ == "__main__":
    app()
