"""Settings: what every service reads from its environment, once, at its start."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class ServiceSettings(BaseSettings):
    """The settings all services share; a service adds its own in its `settings.py`. Prefix `KB_`."""

    model_config = SettingsConfigDict(env_prefix="KB_", frozen=True, extra="ignore")

    host: str = "127.0.0.1"
    port: int = 0
    instance: str = "0"
    """This replica's name, unique and stable over its restarts: a static member of the consumer group."""
    kafka: str = "127.0.0.1:9092"
    topic_prefix: str = ""
    issuer: str = "https://dev.kbstylish.local"
    audience: str = "kb-api"
    jwks_file: Path = Path("jwks.json")
    otlp_endpoint: str | None = None
    trace_ratio: float = Field(default=0.02, ge=0, le=1)
    """The share of orders that is recorded whole, which doubles their CPU; whoever asks with a sampled
    `traceparent` is recorded, too."""
    log_level: str = "info"


class OwnerSettings(ServiceSettings):
    """The settings of a service that owns tables."""

    database_url: str
    pool_size: int = Field(default=10, ge=2, le=64)
    batch_size: int = Field(default=500, ge=1, le=500)
    """At most so many records are taken together; never waited for."""
    parked_edits: bool = False
    """Whether operators may put other bytes into the place of a parked record's."""
    outbox_most_rows: int = Field(default=20_000, ge=1, le=1_000_000)
    """With more rows unpublished, no new work is taken that would tell more (503 `OUTBOX_BACKLOG`)."""
    outbox_most_age_s: float = Field(default=120.0, gt=0)
    """Likewise when the oldest unpublished row is older than this."""
