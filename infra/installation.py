"""What a story, a replay or the audit needs of a running system, whoever started it."""

from collections.abc import Mapping
from typing import Protocol

from infra.keys import Keys


class NotRunningError(RuntimeError):
    """Nobody to ask: the system, or a part of it, is not up, or not where we can see it."""


class Installation(Protocol):
    """One running system; `infra.stack` starts one, `infra.deployed` is told of one."""

    @property
    def keys(self) -> Keys:
        """Its secrets; the development issuer's key is among them."""
        ...

    @property
    def addresses(self) -> Mapping[str, str]:
        """Where parts answer: URLs by name, the broker's bootstrap address, the superuser's DSN."""
        ...

    @property
    def databases(self) -> Mapping[str, str]:
        """The DSN of each service's own role."""
        ...

    @property
    def published(self) -> Mapping[str, str]:
        """Origins that a browser is sent to -> where they are reached from here, if that differs."""
        ...

    def pid(self, name: str) -> int:
        """The process of a service."""
        ...

    def kill(self, name: str) -> None:
        """SIGKILL, as a crash would; whoever keeps the system running starts it again."""
        ...

    async def wait_ready(self, name: str) -> None:
        """Returns when the service answers again; raises TimeoutError otherwise."""
        ...
