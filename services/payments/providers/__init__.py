"""What every gateway's adapter offers; everything particular to one gateway stays inside its module."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from contracts.event import Provider
from services.payments.verdicts import Verdict


@dataclass(frozen=True, slots=True)
class Asked:
    """The stored facts of one attempt; we ask with nothing else, least of all with what a browser brought."""

    reference: str
    merchant_code: str
    amount_paisa: int


@dataclass(frozen=True, slots=True)
class FormPost:
    """What the payer's browser must post, and where."""

    url: str
    fields: Mapping[str, str]
    method: Literal["POST"] = "POST"


@dataclass(frozen=True, slots=True)
class Hint:
    """What a browser brought back, never a verdict: redacted, and with what was wrong about it."""

    evidence_ok: bool
    body: str
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What the gateway's server said, and what we make of it. `body` is redacted, `raw` is only hashed."""

    verdict: Verdict
    http_status: int | None
    body: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What differs between gateways, as data."""

    ttl_s: float
    most_paisa: int
    refunds: Literal["manual"]


class Adapter(Protocol):
    """One gateway."""

    provider: Provider
    merchant_code: str
    capabilities: Capabilities

    def open(self, asked: Asked) -> FormPost:
        """How the payer gets to the gateway."""

    def parse_return(self, asked: Asked, data: str | None) -> Hint:
        """What the browser's `data` is worth as evidence."""

    async def check(self, asked: Asked) -> Answer:
        """Ask the gateway's server. Total: whatever happens comes back as a verdict, within 10 s."""

    async def close(self) -> None:
        """Give the connections back."""
