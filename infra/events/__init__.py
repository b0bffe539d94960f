"""`kb events`: watching topics, sending told events again, and examples for those who hear us."""

import typer

from infra.events.examples import emit_example
from infra.events.replay import replay
from infra.events.tail import tail

events = typer.Typer(no_args_is_help=True, help=__doc__)
events.command("tail")(tail)
events.command("replay")(replay)
events.command("emit-example")(emit_example)


@events.callback()
def about() -> None:
    """Commands about the events of an installation."""
