"""An operator at the services' own operator routes, with a token of the development issuer."""

import json
from collections.abc import Mapping
from typing import Any, Final, NoReturn
from uuid import uuid4

import httpx2
import typer

from infra.issuer import Issuer
from infra.parts import AUDIENCE, ISSUER, ROOT

ANSWERS_WITHIN: Final = httpx2.Timeout(30.0, connect=2.0)


def refuse(reason: str) -> NoReturn:
    """Say what is wrong and what to do, and end with code 2."""
    typer.secho(reason, err=True, fg="red")
    raise typer.Exit(2)


def stack_of(instance: str) -> dict[str, Any]:
    """What a running stack wrote down about itself; ends the command when there is none."""
    try:
        told: dict[str, Any] = json.loads((ROOT / ".run" / instance / "stack.json").read_text())
    except FileNotFoundError:
        refuse(f"no stack `{instance}` runs here: start one with `make dev`")
    return told


class Operator:
    """Asks one service after the other; every refusal ends the command with its reason."""

    def __init__(self, instance: str) -> None:
        self._stack = stack_of(instance)
        pem = ROOT / ".run" / instance / "secrets" / "issuer.pem"
        token = Issuer.read(pem, ISSUER, AUDIENCE).make_token(subject=uuid4(), roles=["operator"])
        self._client = httpx2.Client(
            timeout=ANSWERS_WITHIN, headers={"authorization": f"Bearer {token}"}, trust_env=False
        )

    @property
    def databases(self) -> dict[str, str]:
        """The DSN of each service's own role."""
        found: dict[str, str] = self._stack["databases"]
        return found

    def gets(self, service: str, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The answer of that service."""
        return self._ask(service, "GET", path, None, query)

    def posts(self, service: str, path: str, body: object) -> dict[str, Any]:
        """The answer of that service."""
        return self._ask(service, "POST", path, body, None)

    def _ask(
        self, service: str, method: str, path: str, body: object, query: Mapping[str, str] | None
    ) -> dict[str, Any]:
        url = f"{self._stack['addresses'][service]}/internal/operator{path}"
        try:
            answer = self._client.request(method, url, json=body, params=dict(query or {}))
        except httpx2.HTTPError as error:
            refuse(f"{service} does not answer ({type(error).__name__}): is the stack up? See its log.")
        if answer.is_error:
            problem = answer.json() if answer.content else {}
            refuse(
                f"{service} refused: {problem.get('code', answer.status_code)}: {problem.get('detail', '')}"
            )
        found: dict[str, Any] = answer.json()
        return found
