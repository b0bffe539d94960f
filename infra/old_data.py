"""`kb backfill`, `kb report`, `kb rollup`: old data looked through and repaired; the roll-up paused."""

import asyncio
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn
from rich.table import Table

from infra import orphans as finding
from infra.asking import UNREACHABLE, why
from infra.operators import Operator, refuse

Instance = Annotated[str, typer.Option(help="Which stack of this checkout.")]
Reason = Annotated[str, typer.Option(help="Why; it is written into the operators' log.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Look only, change nothing.")]
MOST: Final = 500
"""Orders per request: one short transaction each, so that live orders never wait for long."""
SHOWN: Final = 20

backfill = typer.Typer(no_args_is_help=True, help="Repair old data through the functions of the services.")
report = typer.Typer(no_args_is_help=True, help="Say what is wrong with old data.")
rollup = typer.Typer(no_args_is_help=True, help="Let the roll-up rest and go on.")


@backfill.callback()
def about_backfill() -> None:
    """Repair old data."""


@backfill.command("rollup")
def backfill_rollup(
    dry_run: DryRun = False,  # noqa: FBT002 - a flag
    after: Annotated[
        str | None, typer.Option(help="Go on after this order; it is said at every stop.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST, help="Orders per step.")] = MOST,
    reason: Reason = "backfill of the roll-up",
    instance: Instance = "demo",
) -> None:
    """Bring every order's status in line with its items, page by page; a run that was broken off goes on."""
    operator, console = Operator(instance), Console()
    examined, wrong, repaired, empty = 0, 0, 0, 0
    place = after
    with Progress(SpinnerColumn(), TextColumn("{task.description}"), console=console) as progress:
        task = progress.add_task("begins", total=None)
        try:
            while True:
                body = {"after": place, "limit": limit, "dry_run": dry_run, "reason": reason}
                page = operator.posts("orders", "/rollup/backfill", body)
                examined += page["examined"]
                wrong += len(page["out_of_step"])
                repaired += page["repaired"]
                empty += len(page["empty"])
                _tell_wrong(console, page, shown=wrong - len(page["out_of_step"]))
                progress.update(task, description=f"{examined} orders looked at, {wrong} out of step")
                if page["next"] is None:
                    break
                place = page["next"]
        except (KeyboardInterrupt, typer.Exit):
            console.print(f"stopped; go on with --after {place}" if place else "stopped at the beginning")
            raise
    what = "would be repaired" if dry_run else "repaired"
    console.print(
        f"{examined} orders: {wrong if dry_run else repaired} {what}, {empty} without items left alone"
    )


def _tell_wrong(console: Console, page: dict[str, Any], *, shown: int) -> None:
    for one in page["out_of_step"][: max(0, SHOWN - shown)]:
        console.print(f"{one['order_id']}: {one['status']} -> {one['should_be']}", highlight=False)


@report.callback()
def about_report() -> None:
    """Say what is wrong."""


@report.command("empty-orders")
def report_empty_orders(instance: Instance = "demo") -> None:
    """Orders without items, which nothing repairs by itself; exit code 1 when there are any."""
    operator, console = Operator(instance), Console()
    examined, found, after = 0, 0, None
    while True:
        page = operator.gets("orders", "/reports/empty-orders", {"after": after} if after else None)
        for one in page["data"]:
            console.print(f"{one['order_id']} {one['order_number']} {one['status']} {one['created_at']}")
        examined, found, after = examined + page["examined"], found + len(page["data"]), page["next"]
        if after is None:
            break
    console.print(f"{found} of {examined} orders have no items")
    if found:
        raise typer.Exit(1)


@report.command("orphans")
def report_orphans(
    repair: Annotated[bool, typer.Option("--repair", help="Tell again what was missed.")] = False,  # noqa: FBT002
    older_than: Annotated[float, typer.Option(min=0, help="Seconds; younger ones may be on their way.")] = 60,
    reason: Reason = "repair of orphans",
    instance: Instance = "demo",
) -> None:
    """Payments without an order and holds nobody consumed; exit code 1 when any is left as it is."""
    operator, console = Operator(instance), Console()
    try:
        found = asyncio.run(finding.find(operator.databases, older_than))
    except UNREACHABLE as error:
        refuse(f"a database does not answer ({why(error)}); `kb doctor` says what is up and what to do")
    console.print(_orphans(found))
    left = [one for one in found if one.repair is None]
    if repair:
        for service, path, ids in finding.repairs(found):
            answer = operator.posts(service, path, {"ids": ids, "reason": reason})
            console.print(f"{service}: {len(answer['told'])} told again")
            for order_id, refusal in answer["refused"].items():
                console.print(f"{order_id}: {refusal}", highlight=False)
        console.print("what was told again takes effect within seconds; run this report once more")
    elif any(one.repair for one in found):
        console.print("`--repair` tells again what was missed")
    if left or (found and not repair):
        raise typer.Exit(1)


def _orphans(found: list[finding.Orphan]) -> Table:
    table = Table("order", "what", "checkout", "since", "repair", box=None, title=f"{len(found)} orphans")
    for one in found:
        repair = f"{one.repair} tells again" if one.repair else "a person must look: `kb find`"
        table.add_row(str(one.order_id), one.kind, one.stage or "unknown", f"{one.since:%F %T}", repair)
    return table


@rollup.callback()
def about_rollup() -> None:
    """Let the roll-up rest and go on."""


@rollup.command("status")
def rollup_status(instance: Instance = "demo") -> None:
    """Whether it works or rests."""
    _say(Operator(instance).gets("orders", "/rollup"))


@rollup.command("pause")
def rollup_pause(
    reason: Annotated[str, typer.Option(help="Why; it is written into the operators' log.")],
    minutes: Annotated[int, typer.Option(min=1, max=1440, help="It goes on by itself then.")] = 60,
    instance: Instance = "demo",
) -> None:
    """Statuses of orders stay as they are, in every replica; items still move."""
    _say(Operator(instance).posts("orders", "/rollup/pause", {"minutes": minutes, "reason": reason}))


@rollup.command("resume")
def rollup_resume(reason: Reason = "done", instance: Instance = "demo") -> None:
    """Go on, and catch up with what was missed meanwhile."""
    _say(Operator(instance).posts("orders", "/rollup/resume", {"reason": reason}))
    backfill_rollup(reason=f"catching up: {reason}", instance=instance)


def _say(state: dict[str, Any]) -> None:
    if state["state"] == "running":
        typer.echo("the roll-up is running")
    else:
        typer.echo(f"the roll-up is paused until {state['until']}: {state['reason']}")
