"""An operator at the services' own operator routes, for commands that end at the first refusal."""

from collections.abc import Mapping
from typing import Any, NoReturn

import typer

from infra.desk import Desk, RefusedError, SilentError
from infra.installation import NotRunningError
from infra.places import NowhereError, place_of


def refuse(reason: str) -> NoReturn:
    """Say what is wrong and what to do, and end with code 2."""
    typer.secho(reason, err=True, fg="red")
    raise typer.Exit(2)


class Operator:
    """Asks one service after the other; every refusal ends the command with its reason."""

    def __init__(self, instance: str) -> None:
        try:
            self._desk = Desk.of_stack(instance)
            self.databases: Mapping[str, str] = place_of(instance).databases
            """The DSN of each service's own role."""
        except (NotRunningError, NowhereError) as error:
            refuse(str(error))

    def gets(self, service: str, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The answer of that service."""
        return self._ask(service, "GET", path, None, query)

    def posts(self, service: str, path: str, body: object) -> dict[str, Any]:
        """The answer of that service."""
        return self._ask(service, "POST", path, body, None)

    def _ask(
        self, service: str, method: str, path: str, body: object, query: Mapping[str, str] | None
    ) -> dict[str, Any]:
        try:
            found: dict[str, Any] = self._desk.ask(service, method, path, body, **dict(query or {}))
        except (RefusedError, SilentError) as error:
            refuse(str(error))
        return found
