"""`kb parked`: records that were set aside, of every service: look, try, retry, replay, edit, skip."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from infra.desk import Desk, RefusedError, SilentError, desk_of
from infra.installation import NotRunningError

parked = typer.Typer(no_args_is_help=True, help=__doc__)
LOOK_EVERY_S: Final = 1.0
WATCH_S: Final = 3600.0

STATES: Final = {
    "in": {"parked", "dead", "replayed", "skipped"},
    "out": {"parked", "retry", "published", "skipped"},
}
"""A side without the states asked for has nothing to list."""

Records = Annotated[list[str], typer.Argument(help="As `kb parked list` names them: orders.in.17 ...")]
Record = Annotated[str, typer.Argument(help="As `kb parked list` names it: orders.in.17")]
Reason = Annotated[str, typer.Option(help="Why; it is kept with your name.")]
Service = Annotated[str | None, typer.Option(help="Of this service only; of all otherwise.")]
Where = Annotated[str | None, typer.Option("--side", help="`in`: heard. `out`: told, and refused by Kafka.")]
Topic = Annotated[str | None, typer.Option(help="Of this topic.")]
Failure = Annotated[str | None, typer.Option(help="Of this class of error.")]
Key = Annotated[str | None, typer.Option(help="Of this key: an order's id, mostly.")]
Since = Annotated[str | None, typer.Option(help="First failed at or after: 2026-01-31T08:00:00Z")]
Until = Annotated[str | None, typer.Option(help="First failed before.")]


@parked.callback()
def about(
    context: typer.Context,
    instance: Annotated[str, typer.Option(help="Which stack of this checkout.")] = "demo",
    url: Annotated[
        list[str] | None, typer.Option(help="SERVICE=URL, for an installation that is no stack.")
    ] = None,
    token: Annotated[
        str | None, typer.Option(envvar="KB_TOKEN", help="Yours, with the role operator.")
    ] = None,
) -> None:
    """Records that were set aside: what failed, and what waits behind it."""
    context.obj = lambda: desk_of(instance, url or [], token)


@parked.command("list")
def list_parked(  # noqa: PLR0913, PLR0917 - the options of a command are given by name
    context: typer.Context,
    service: Service = None,
    side: Where = None,
    state: Annotated[list[str] | None, typer.Option(help="parked, dead, replayed, skipped, ...")] = None,
    topic: Topic = None,
    failure: Failure = None,
    key: Key = None,
    since: Since = None,
    until: Until = None,
    groups: Annotated[bool, typer.Option("--groups", help="How many of which kind, instead.")] = False,  # noqa: FBT002
) -> None:
    """What waits or is dead, the oldest 50 of each service and side."""
    wanted = {"state": state, "topic": topic, "failure": failure, "key": key, "since": since, "until": until}
    with _said(context) as desk:
        silent = []
        for name in [service] if service else list(desk.addresses):
            try:
                if groups:
                    _show_groups(name, desk.ask(name, "GET", "/parked/groups")["data"])
                    continue
                for one in [side] if side else _sides(state):
                    _show_list(desk.ask(name, "GET", "/parked", side=one, **wanted))
            except SilentError as error:
                silent.append(str(error))
        if silent:
            raise SilentError("\n".join(silent))


@parked.command()
def show(
    context: typer.Context,
    record: Record,
    payload: Annotated[bool, typer.Option("--payload", help="Its body only, ready to be edited.")] = False,  # noqa: FBT002
) -> None:
    """Everything that is known of one record, its body included."""
    with _said(context) as desk:
        found = desk.ask(_service_of([record]), "GET", f"/parked/{record}")
        if payload:
            typer.echo(_pretty(found["edited_payload"] or found["payload"] or ""))
        else:
            typer.echo(json.dumps(found, indent=2))


@parked.command("dry-run")
def dry_run(context: typer.Context, records: Records) -> None:
    """What a retry would do now: the outcome, and the events it would tell. Nothing is changed."""
    with _said(context) as desk:
        found = desk.ask(_service_of(records), "POST", "/parked/dry-run", {"records": records})
        for one in found["data"]:
            typer.echo(f"{one['record']}: {one['outcome']} {one['error']}".rstrip())
            for told in one["told"]:
                typer.echo(f"  would tell {told['topic']} {json.dumps(told['payload'])}")


@parked.command()
def retry(context: typer.Context, records: Records, reason: Reason) -> None:
    """Try these now; what waits behind them follows."""
    _move(context, "retry", records, reason)


@parked.command()
def skip(context: typer.Context, records: Records, reason: Reason) -> None:
    """Give these up for good; what waits behind them goes on."""
    _move(context, "skip", records, reason)


@parked.command()
def replay(  # noqa: PLR0913, PLR0917 - the options of a command are given by name
    context: typer.Context,
    service: Annotated[str, typer.Option(help="Of which service.")],
    reason: Reason,
    side: Annotated[str, typer.Option(help="`in` or `out`.")] = "in",
    topic: Topic = None,
    failure: Failure = None,
    key: Key = None,
    since: Since = None,
    until: Until = None,
    per_second: Annotated[int, typer.Option(help="1 to 100.")] = 20,
) -> None:
    """Try everything open that fits all of this, at a bounded rate; Ctrl-C ends only the watching."""
    asked = {"side": side, "topic": topic, "failure": failure, "key": key, "since": since, "until": until}
    body = {name: value for name, value in asked.items() if value} | {
        "per_second": per_second,
        "reason": reason,
    }
    with _said(context) as desk:
        found = desk.ask(service, "POST", "/parked/replay", body)
        _watch(lambda: desk.ask(service, "GET", f"/parked/replays/{found['id']}"))


@parked.command()
def edit(
    context: typer.Context,
    record: Record,
    payload: Annotated[Path, typer.Argument(help="A file with the new body, `-` for standard input.")],
    reason: Reason,
) -> None:
    """Put another body in its place; id, key and type stay. Then `retry` it."""
    with _said(context) as desk:
        text = sys.stdin.read() if str(payload) == "-" else payload.read_text()
        try:
            body = json.loads(text)
        except ValueError as error:
            raise RefusedError(f"{payload} is no JSON: {error}") from None
        asked = {"payload": body, "reason": reason}
        found = desk.ask(_service_of([record]), "PUT", f"/parked/{record}/payload", asked)
        typer.echo(f"{found['record']}: edited; `kb parked dry-run {record}` says what a retry would do")


def _sides(states: Sequence[str] | None) -> list[str]:
    """Those that know these states; one that knows none of them says so best itself."""
    return [side for side, known in STATES.items() if known.issuperset(states or ())] or ["in"]


def _move(context: typer.Context, verb: str, records: Sequence[str], reason: str) -> None:
    with _said(context) as desk:
        body = {"records": list(records), "reason": reason}
        for one in desk.ask(_service_of(records), "POST", f"/parked/{verb}", body)["data"]:
            typer.echo(f"{one['record']}: {one['state']}")


def _watch(look: Callable[[], Any]) -> None:
    ends = time.monotonic() + WATCH_S
    while True:
        told = look()
        counts = ", ".join(
            f"{told[name]} {name}" for name in ("done", "waiting", "dead", "skipped", "others")
        )
        typer.echo(f"{told['id']}: {counts} of {told['asked']}")
        if not told["waiting"] or time.monotonic() > ends:
            return
        time.sleep(LOOK_EVERY_S)


def _service_of(records: Sequence[str]) -> str:
    """The service that these records are of: it is asked alone."""
    services = sorted({one.partition(".")[0] for one in records})
    if len(services) > 1:
        raise RefusedError(f"one service at a time: these are of {', '.join(services)}")
    return services[0]


def _show_list(page: dict[str, Any]) -> None:
    """A line each, whole however narrow the terminal is, so that it can be searched and cut."""
    for one in page["data"]:
        seen = f"{one['attempts']} tries since {one['first_failed_at'][:19]}"
        following = f", next {one['next_at'][:19]}" if one["next_at"] else ""
        place = f"{one['record']:<24} {one['state']:<9} {one['topic']:<18} {one['key']}"
        typer.echo(f"{place} {one['failure']}: {seen}{following}")
    if page["next"]:
        typer.echo(f"after {page['next']} there are more: narrow it, or see `--groups`")


def _show_groups(service: str, groups: Sequence[dict[str, Any]]) -> None:
    for one in groups:
        place = f"{service}.{one['side']} {one['topic']} {one['state']} {one['failure']}"
        typer.echo(f"{one['count']:>7} {place} since {one['oldest_at'][:19]}")


def _pretty(text: str) -> str:
    try:
        return json.dumps(json.loads(text), indent=2)
    except ValueError:
        return text


@contextmanager
def _said(context: typer.Context) -> Iterator[Desk]:
    """The desk; whatever refuses or does not answer ends the command with 2 and a sentence."""
    try:
        yield context.obj()
    except NotRunningError as error:
        _fail(f"{error}, or give --url")
    except (RefusedError, SilentError, OSError) as error:
        _fail(str(error))


def _fail(reason: str) -> None:
    typer.secho(reason, err=True, fg="red")
    raise typer.Exit(2)
