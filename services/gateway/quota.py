"""How much one caller may ask: a window of a minute per subject, counted in this process."""

from time import time
from typing import Final

from fastapi import Request
from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import FixedWindowRateLimiter

from services.chassis.auth import Principal
from services.chassis.errors import Problem
from services.gateway.settings import GatewaySettings

STAFF: Final = frozenset({"admin", "operator", "support", "service"})


class Quota:
    """Counts requests in this process: two gateways let through twice as much at most."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._limiter = FixedWindowRateLimiter(MemoryStorage())
        self._anonymous = RateLimitItemPerMinute(settings.anonymous_per_minute)
        self._customer = RateLimitItemPerMinute(settings.customer_per_minute)
        self._vendor = RateLimitItemPerMinute(settings.vendor_per_minute)
        self._staff = RateLimitItemPerMinute(settings.staff_per_minute)

    async def take(self, request: Request, caller: Principal | None) -> None:
        """Count this request and announce what is left; raises 429 `QUOTA_EXCEEDED`."""
        item, name = self._of(caller), _name(request, caller)
        allowed = await self._limiter.hit(item, name)
        stats = await self._limiter.get_window_stats(item, name)
        wait_s = max(1, round(stats.reset_time - time()))
        request.scope["answer_headers"] |= {
            "RateLimit-Policy": f'"default";q={item.amount};w=60',
            "RateLimit": f'"default";r={stats.remaining};t={wait_s}',
        }
        if not allowed:
            raise Problem(429, "QUOTA_EXCEEDED", headers={"Retry-After": str(wait_s)})

    def _of(self, caller: Principal | None) -> RateLimitItemPerMinute:
        if caller is None:
            return self._anonymous
        if caller.roles & STAFF:
            return self._staff
        return self._vendor if "vendor" in caller.roles else self._customer


def _name(request: Request, caller: Principal | None) -> str:
    if caller is not None:
        return str(caller.subject)
    return request.client.host if request.client else "unknown"
