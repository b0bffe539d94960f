"""What payments reads from its environment, and what it refuses to start with when money is real."""

from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, model_validator

from services.chassis.settings import OwnerSettings
from services.payments.domain import Plan

PUBLIC_MERCHANT = "EPAYTEST"
# TLS to one of these is the only proof that an answer is the gateway's.
LIVE_HOSTS = frozenset({"epay.esewa.com.np", "esewa.com.np"})
# Published by the gateway for its test system: whoever has it can sign anything.
PUBLIC_KEY = "8gBm/:&EnhH.1/q"


class PaymentsSettings(OwnerSettings):
    """The shared settings of a service that owns tables, and those of the gateway."""

    NEVER_EMPTY = ("environment", "esewa_key")

    environment: Literal["development", "production"] = "development"
    public_url: str = "http://127.0.0.1:8080"
    """Where browsers reach the API gateway; the way back from a payment starts with it."""

    esewa_form_url: str = "https://rc-epay.esewa.com.np/api/epay/main/v2/form"
    esewa_status_url: str = "https://rc.esewa.com.np/api/epay/transaction/status/"
    esewa_merchant: str = PUBLIC_MERCHANT
    esewa_key: SecretStr = SecretStr(PUBLIC_KEY)
    esewa_ttl_s: float = Field(default=900, gt=0)
    """How long a payer can use one attempt."""

    grace_s: float = Field(default=120, ge=0)
    """After `pay_by`: when the last lookups are due."""
    cut_off_s: float = Field(default=300, ge=0)
    """Before `pay_by`: from when no further attempt is opened."""
    patience_s: float = Field(default=7200, ge=0)
    """How long an undecided answer keeps a window open before a person must look."""
    horizon_s: float = Field(default=7 * 86_400, gt=0)
    """How long an attempt is asked about at all."""
    most_attempts: int = Field(default=10, ge=1, le=50)
    alarm_unanswered_s: float = Field(default=60, gt=0)
    unanswered_s: float = Field(default=900, gt=0)
    alarm_unchecked_s: float = Field(default=300, gt=0)
    """An attempt that is due for longer says that the poller, or the gateway, stands still."""
    alarm_refund_s: float = Field(default=86_400, gt=0)
    """How long a person may take to send a refund before it is said aloud."""
    alarm_case_s: float = Field(default=86_400, gt=0)
    """How long a review case may be open before it is said aloud."""

    poll_after_open_s: tuple[float, ...] = Plan().after_open
    poll_after_return_s: tuple[float, ...] = Plan().after_return
    poll_after_expiry_s: tuple[float, ...] = Plan().after_expiry
    poll_undecided_every_s: float = Field(default=60, gt=0)
    poll_undecided_for_s: float = Field(default=1800, gt=0)
    poll_unknown_first_s: float = Field(default=5, gt=0)
    poll_unknown_most_s: float = Field(default=300, gt=0)
    not_seen_grace_s: float = Field(default=900, ge=0)
    return_gap_s: float = Field(default=2, ge=0)
    gateway_calls_per_s: float = Field(default=5, gt=0)
    gateway_connect_s: float = Field(default=3, gt=0, le=10)
    gateway_answer_s: float = Field(default=10, gt=0, le=20)
    """Of one lookup from first to last byte; less than the lease of a claim."""
    gateway_calls_at_once: int = Field(default=32, ge=1, le=256)
    poll_every_s: float = Field(default=1, gt=0)
    """How often the poller looks for due attempts when nothing wakes it."""

    @property
    def plan(self) -> Plan:
        """When attempts are asked about."""
        return Plan(
            after_open=self.poll_after_open_s,
            after_return=self.poll_after_return_s,
            after_expiry=self.poll_after_expiry_s,
            undecided_every=self.poll_undecided_every_s,
            undecided_for=self.poll_undecided_for_s,
            unknown_first=self.poll_unknown_first_s,
            unknown_most=self.poll_unknown_most_s,
            not_seen_grace=self.not_seen_grace_s,
            return_gap=self.return_gap_s,
        )

    @model_validator(mode="after")
    def _is_safe_for_real_money(self) -> Self:
        if self.environment == "production":
            if self.esewa_merchant == PUBLIC_MERCHANT or self.esewa_key.get_secret_value() in {
                "",
                PUBLIC_KEY,
            }:
                raise ValueError("production must not use the gateway's public test merchant or key")
            gateway = (urlsplit(self.esewa_form_url), urlsplit(self.esewa_status_url))
            if not all(url.scheme == "https" and url.hostname in LIVE_HOSTS for url in gateway):
                raise ValueError(f"production asks the gateway over https, at one of {sorted(LIVE_HOSTS)}")
            if not self.public_url.startswith("https://"):
                raise ValueError("production is reached over https")
        if "?" in self.public_url or "#" in self.public_url:
            raise ValueError("the gateway appends ?data= blindly, so KB_PUBLIC_URL must not have a query")
        return self
