"""`kb`: what a developer or operator asks of a running installation."""

import logging
from pathlib import Path
from typing import Annotated
from uuid import UUID, uuid4

import typer

from infra.audit import audit_command
from infra.doctor import doctor_command
from infra.events import events
from infra.find import find_command
from infra.heal import heal_command
from infra.issuer import Issuer
from infra.old_data import backfill, report, rollup
from infra.outbox import outbox
from infra.parked import parked
from infra.parts import AUDIENCE, ISSUER, ROOT
from infra.restart import restart_command
from infra.trace import trace_command

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
UNSAID = logging.NullHandler()
"""For what Kafka's client says aside: each command says in its own words whom it cannot reach."""
Instance = Annotated[str, typer.Option(help="Which stack of this checkout.")]


@app.callback()
def main() -> None:
    """Commands about one stack of this checkout."""
    logging.getLogger("aiokafka").addHandler(UNSAID)


app.command("audit")(audit_command)
app.command("heal")(heal_command)
app.command("doctor")(doctor_command)
app.command("find")(find_command)
app.command("trace")(trace_command)
app.add_typer(outbox, name="outbox")
app.add_typer(parked, name="parked")
app.command("restart")(restart_command)
app.add_typer(backfill, name="backfill")
app.add_typer(report, name="report")
app.add_typer(rollup, name="rollup")
app.add_typer(events, name="events")


@app.command()
def token(
    role: Annotated[list[str], typer.Option(help="customer, vendor, admin, ...; may be given again.")],
    subject: Annotated[UUID | None, typer.Option(help="Who; a new person otherwise.")] = None,
    vendor_id: Annotated[UUID | None, typer.Option(help="Whose items, for vendors.")] = None,
    instance: Instance = "demo",
) -> None:
    """Print an access token of the development issuer, good for an hour."""
    pem = ROOT / ".run" / instance / "secrets" / "issuer.pem"
    _need(pem, f"there is no stack `{instance}`: start one with `make dev`")
    issuer = Issuer.read(pem, ISSUER, AUDIENCE)
    typer.echo(issuer.make_token(subject=subject or uuid4(), roles=role, vendor_id=vendor_id))


def _need(path: Path, otherwise: str) -> None:
    if not path.exists():
        typer.secho(otherwise, err=True, fg="red")
        raise typer.Exit(2)
