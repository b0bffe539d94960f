"""The desk of an operator: asks the operator API of each service, as a person who is written down."""

import getpass
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit
from uuid import NAMESPACE_URL, UUID, uuid5

import httpx2

from infra.databases import SERVICES
from infra.issuer import Issuer
from infra.parts import ROOT
from infra.stack import describe

WITHIN_S: Final = 10.0


class RefusedError(Exception):
    """A service said no; the message says why, in words for the person who asked."""


class SilentError(Exception):
    """A service does not answer where it should."""


@dataclass(frozen=True, slots=True)
class Desk:
    """Where each service answers, and the token to ask with."""

    addresses: Mapping[str, str]
    token: str

    @classmethod
    def of_stack(cls, instance: str) -> Self:
        """The stack of this checkout, as yourself; raises NotRunningError."""
        told = describe(ROOT / ".run" / instance)
        issuer = Issuer.read(Path(told["issuer_key"]), told["issuer"], told["audience"])
        token = issuer.make_token(subject=yourself(), roles=["operator"], vendor_id=None)
        return cls({one: told["addresses"][one] for one in SERVICES if one in told["addresses"]}, token)

    def ask(self, service: str, method: str, path: str, body: object = None, **query: Any) -> Any:  # noqa: ANN401
        """The JSON answer of a service; raises RefusedError, SilentError."""
        if service not in self.addresses:
            raise RefusedError(f"there is no service `{service}` here: {', '.join(self.addresses)}")
        url = f"{self.addresses[service]}/internal/operator{path}"
        given = {name: value for name, value in query.items() if value is not None}
        headers = {"authorization": f"Bearer {self.token}"}
        try:
            answer = httpx2.request(
                method, url, json=body, params=given, headers=headers, timeout=WITHIN_S, trust_env=False
            )
        except httpx2.HTTPError as error:
            raise SilentError(
                f"{service} does not answer at {_origin(url)} ({type(error).__name__}): is it up? "
                "`kb doctor` examines the installation"
            ) from error
        if answer.is_error:
            raise RefusedError(_why(service, answer))
        try:
            return answer.json()
        except ValueError:
            raise RefusedError(
                f"{_origin(url)} answers, but not as {service}: is the address right?"
            ) from None


def desk_of(instance: str, urls: Sequence[str], token: str | None) -> Desk:
    """The stack's, or the one at these `service=URL`s; raises NotRunningError, RefusedError."""
    if not urls:
        return Desk.of_stack(instance)
    if not token:
        raise RefusedError("with --url a token of the role `operator` is needed: --token, or KB_TOKEN")
    pairs = [one.partition("=") for one in urls]
    if wrong := [name for name, _, url in pairs if name not in SERVICES or not url.startswith("http")]:
        raise RefusedError(f"--url is SERVICE=URL, SERVICE one of {', '.join(SERVICES)}: {', '.join(wrong)}")
    return Desk({name: url.rstrip("/") for name, _, url in pairs}, token)


def yourself() -> UUID:
    """Who you are in the operators' log of a development stack: the same on each day you come."""
    return uuid5(NAMESPACE_URL, f"kb:operator:{getpass.getuser()}")


def _why(service: str, answer: httpx2.Response) -> str:
    try:
        problem = answer.json()
    except ValueError:
        return f"{service} answered {answer.status_code} and no problem document"
    lines = [f"{service}: {problem.get('code', answer.status_code)}: {problem.get('detail', '')}"]
    lines += [f"  {one['pointer']}: {one['detail']} ({one['code']})" for one in problem.get("errors", [])]
    return "\n".join(lines)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
