"""`kb heal`: the healing duties of a running installation; run one now, see what it would do, pause it."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final, NoReturn

import httpx2
import typer
from rich.console import Console
from rich.table import Table

from infra.desk import Desk
from infra.installation import NotRunningError

DUTIES: Final = "/internal/operator/reconcilers"
TIMEOUT: Final = httpx2.Timeout(10.0, connect=2.0)
SPAN: Final = re.compile(r"([1-9]\d{0,5})([smh])")
SECONDS: Final = {"s": 1, "m": 60, "h": 3600}
LONGEST_PAUSE_S: Final = 86_400
SHOWN_EVENTS: Final = 20
WIDTH: Final = 200
BY_HAND: Final = "run by hand"


class RefusedError(RuntimeError):
    """What is wrong, and what to do about it; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Place:
    """One service that can be asked, by somebody."""

    service: str
    url: str
    token: str

    def ask(self, method: str, path: str = "", body: object = None) -> dict[str, Any]:
        """The JSON answer; raises RefusedError when the service refuses, in its words, or is not there."""
        headers = {"authorization": f"Bearer {self.token}"}
        try:
            with httpx2.Client(timeout=TIMEOUT, trust_env=False) as client:
                answer = client.request(method, self.url + DUTIES + path, json=body, headers=headers)
            found: dict[str, Any] = answer.json()
        except (httpx2.HTTPError, ValueError) as error:
            where = f"{self.service} does not answer at {self.url}"
            raise RefusedError(
                f"{where} ({type(error).__name__}): is it up? `make dev` starts a stack"
            ) from error
        if answer.is_error:
            raise RefusedError(f"{self.service}: {found.get('code', '?')}: {found.get('detail', '')}")
        return found


@dataclass(frozen=True, slots=True)
class Found:
    """A duty where it runs."""

    place: Place
    status: Mapping[str, Any]


def heal_command(
    name: Annotated[
        str | None, typer.Argument(help="Which duty (of all services that have it), or service.duty.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would do; change nothing.")] = False,  # noqa: FBT002 - a flag
    list_all: Annotated[bool, typer.Option("--list", help="Show all, with runs and pauses.")] = False,  # noqa: FBT002 - a flag
    pause_for: Annotated[str | None, typer.Option(help="Pause it: 90s, 30m, at most 24h.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="End its pause.")] = False,  # noqa: FBT002 - a flag
    reason: Annotated[str | None, typer.Option(help="Why; kept with your name.")] = None,
    url: Annotated[
        list[str] | None, typer.Option(help="service=URL; for an installation that is not a stack.")
    ] = None,
    instance: Annotated[str, typer.Option(help="Which stack of this checkout.")] = "demo",
) -> None:
    """Run a healing duty once, see what it would do, pause or resume it, or list all."""
    if (name is None) != list_all or sum((dry_run, pause_for is not None, resume, list_all)) > 1:
        _stop("give one duty, with at most one of --dry-run, --pause-for, --resume; or --list alone")
    try:
        places = _places(url, instance)
        if name is None:
            _list(places)
        for found in () if name is None else _find(places, name):
            _do(found, dry_run=dry_run, pause_for=pause_for, resume=resume, reason=reason)
    except RefusedError as refused:
        _stop(str(refused))


def _do(found: Found, *, dry_run: bool, pause_for: str | None, resume: bool, reason: str | None) -> None:
    if pause_for is not None:
        _pause(found, seconds_of(pause_for), _needed(reason))
    elif resume:
        found.place.ask("POST", f"/{found.status['name']}/resume", {"reason": _needed(reason)})
        _say(found, "resumed; every process takes part again within one of its rounds")
    else:
        _run(found, {"dry_run": True} if dry_run else {"reason": reason or BY_HAND})


def _pause(found: Found, for_s: int, reason: str) -> None:
    body = {"for_s": for_s, "reason": reason}
    said = found.place.ask("POST", f"/{found.status['name']}/pause", body)
    _say(found, f"paused until {said['paused_until']}; it goes on by itself then")


def _run(found: Found, body: Mapping[str, object]) -> None:
    said = found.place.ask("POST", f"/{found.status['name']}/run", body)
    verb = "raised an alarm about" if found.status["alarm"] else "moved"
    verb = f"would have {verb}" if said["dry_run"] else verb
    _say(found, f"{verb} {said['found']}")
    for told in said["tells"][:SHOWN_EVENTS]:
        typer.echo(f"  would tell {told['topic']} of {told['key']}")
    if (left := len(said["tells"]) - SHOWN_EVENTS) > 0:
        typer.echo(f"  and {left} more")


def seconds_of(text: str) -> int:
    """`90s`, `30m`, `2h` in seconds; raises RefusedError for anything else and for more than a day."""
    found = SPAN.fullmatch(text.strip())
    seconds = int(found[1]) * SECONDS[found[2]] if found else 0
    if not 0 < seconds <= LONGEST_PAUSE_S:
        raise RefusedError(
            f"`{text}` is no pause: say 90s, 30m or 2h, at most 24h; nothing is paused for ever"
        )
    return seconds


def _needed(reason: str | None) -> str:
    if not (reason or "").strip():
        raise RefusedError("give a --reason: who comes after you wants to know why")
    return str(reason)


def _find(places: list[Place], name: str) -> list[Found]:
    """Where this duty runs; the chassis' own run in every service. A service that is down is not skipped."""
    service, _, duty = name.rpartition(".")
    asked = [one for one in places if service in ("", one.service)]
    known = [Found(place, one) for place in asked for one in place.ask("GET")["data"]]
    found = [one for one in known if one.status["name"] == duty]
    if not found:
        names = ", ".join(sorted({one.status["name"] for one in known})) or "none"
        raise RefusedError(f"there is no duty `{name}`; there are: {names}")
    return found


def _list(places: list[Place]) -> None:
    """What can be asked is shown; what cannot is said, and makes the command fail."""
    table = Table("service", "duty", "last run", "found", "next run", "state", box=None)
    missing: list[str] = []
    for place in places:
        try:
            for one in place.ask("GET")["data"]:
                ran, due = _ago(one["last_run_at"]), _ago(one["next_run_at"])
                table.add_row(place.service, one["name"], ran, str(one["last_found"]), due, state_of(one))
        except RefusedError as refused:
            missing.append(str(refused))
    Console(highlight=False, width=WIDTH).print(table)
    if missing:
        raise RefusedError("\n".join(missing))


def state_of(one: Mapping[str, Any]) -> str:
    """One phrase: paused until when, by whom and why; failing; silent; or well."""
    if one["paused_until"]:
        return f"paused until {one['paused_until']} by {one['paused_by']}: {one['paused_reason']}"
    if one["last_error"]:
        return f"failing: {one['last_error']}"
    return "SILENT" if one["silent"] else "well"


def _ago(time: str | None) -> str:
    """Seconds from or to now, on this machine's clock: for reading only."""
    if time is None:
        return "never"
    seconds = (datetime.now(UTC) - datetime.fromisoformat(time)).total_seconds()
    return f"{seconds:.0f} s ago" if seconds >= 0 else f"in {-seconds:.0f} s"


def _places(urls: list[str] | None, instance: str) -> list[Place]:
    """Who can be asked, with a token of `KB_TOKEN` or of the development issuer."""
    if urls:
        named = dict(one.partition("=")[::2] for one in urls)
        if not all(named.values()):
            raise RefusedError("give --url as service=URL")
        token = os.environ.get("KB_TOKEN")
        if not token:
            raise RefusedError("set KB_TOKEN to an operator's access token of that installation")
        return [Place(service, url.rstrip("/"), token) for service, url in named.items()]
    try:
        desk = Desk.of_stack(instance)
    except NotRunningError as error:
        raise RefusedError(f"{error}, or give --url") from None
    return [Place(service, url, desk.token) for service, url in desk.addresses.items()]


def _say(found: Found, what: str) -> None:
    typer.echo(f"{found.place.service} {found.status['name']}: {what}")


def _stop(why: str) -> NoReturn:
    typer.secho(why, err=True, fg="red")
    raise typer.Exit(2)
