"""A system that runs already, in containers or anywhere: its settings say where."""

import asyncio
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import httpx2
from pydantic_settings import BaseSettings, SettingsConfigDict

from infra import databases
from infra.installation import NotRunningError
from infra.keys import Keys

READY_WITHIN_S = 60.0
LOOKS_EVERY_S = 0.1
ANSWERS_WITHIN_S = 2.0
PROCESSES = Path("/proc")


class DeployedSettings(BaseSettings):
    """Where everything is. Prefix `KB_`; addresses are those to be used from here."""

    model_config = SettingsConfigDict(env_prefix="KB_", frozen=True, extra="ignore")

    secrets: Path = Path("/secrets")
    kafka: str
    postgres: str
    """host:port of the server that holds all databases."""
    gateway_url: str
    orders_url: str
    inventory_url: str
    payments_url: str
    esewa_url: str
    esewa_control_url: str
    public_url: str
    """Where browsers reach the gateway, and below where they reach the payment form."""
    esewa_form_url: str


@dataclass(frozen=True, slots=True)
class Deployed:
    """An installation that others started and others keep running; nothing of it is ended here."""

    settings: DeployedSettings

    @classmethod
    def of_environment(cls) -> Self:
        """Raises pydantic's ValidationError, which names every setting that is missing."""
        return cls(DeployedSettings())

    @property
    def keys(self) -> Keys:
        return Keys(self.settings.secrets)

    @property
    def addresses(self) -> Mapping[str, str]:
        told = self.settings
        return {
            "orders": told.orders_url,
            "inventory": told.inventory_url,
            "payments": told.payments_url,
            "gateway": told.gateway_url,
            "esewa": told.esewa_url,
            "esewa-control": told.esewa_control_url,
            "kafka": told.kafka,
            "postgres": self._dsn("postgres", "postgres"),
        }

    @property
    def databases(self) -> Mapping[str, str]:
        return {one: self._dsn(databases.login_role(one), f"kb_{one}") for one in databases.SERVICES}

    @property
    def published(self) -> Mapping[str, str]:
        told = self.settings
        ways = {_origin(told.public_url): told.gateway_url, _origin(told.esewa_form_url): told.esewa_url}
        return {seen: here for seen, here in ways.items() if seen != _origin(here)}

    def pid(self, name: str) -> int:
        """Found among the processes that can be seen from here; raises NotRunningError if it is not."""
        module = f"services.{name}"
        for process in PROCESSES.glob("[0-9]*"):
            if _runs(process, module) and _has_key_set(process, self.keys.jwks):
                return int(process.name)
        raise NotRunningError(f"{name} is no process that can be seen from here (in a container: pid: host)")

    def kill(self, name: str) -> None:
        os.kill(self.pid(name), signal.SIGKILL)

    async def wait_ready(self, name: str) -> None:
        url = f"{self.addresses[name]}/readyz"
        async with asyncio.timeout(READY_WITHIN_S), httpx2.AsyncClient(trust_env=False) as client:
            while not await _answers(client, url):  # noqa: ASYNC110
                await asyncio.sleep(LOOKS_EVERY_S)

    def _dsn(self, role: str, database: str) -> str:
        return f"postgresql://{role}:{self.keys.password(role)}@{self.settings.postgres}/{database}"


def _origin(url: str) -> str:
    """Scheme, host and port of a URL."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _runs(process: Path, module: str) -> bool:
    try:
        words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:  # it has ended since we saw it
        return False
    return module in words and "run" in words


def _has_key_set(process: Path, jwks: Path) -> bool:
    """Whether it is of our installation: another copy runs the same command, but with another key set.

    Seen through the process's own root, because in a container its path means another file here.
    """
    try:
        told = (process / "environ").read_bytes().decode(errors="replace").split("\0")
        theirs = next(one for one in told if one.startswith("KB_JWKS_FILE=")).partition("=")[2]
        return (process / "root" / theirs.lstrip("/")).samefile(jwks)
    except (OSError, StopIteration):  # ended, somebody else's, or never told of a key set
        return False


async def _answers(client: httpx2.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(url, timeout=ANSWERS_WITHIN_S)).status_code == httpx2.codes.OK
    except httpx2.HTTPError:
        return False
