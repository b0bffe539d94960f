"""Wiring of the gateway."""

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from services.chassis.app import Service
from services.gateway import api
from services.gateway.live import Live
from services.gateway.quota import Quota
from services.gateway.settings import GatewaySettings
from services.gateway.streams import Streams
from services.gateway.upstreams import Upstreams

EXPOSED = (
    "ETag",
    "Location",
    "Retry-After",
    "RateLimit",
    "RateLimit-Policy",
    "Idempotency-Replayed",
    "traceparent",
)


def build(settings: GatewaySettings) -> Service:
    """The gateway; it holds its callers itself, so no deadline of the chassis cuts them off."""
    return Service(
        "gateway",
        settings,
        router=api.router,
        state={
            "upstreams": Upstreams(settings),
            "live": Live(settings.kafka, settings.topic_prefix),
            "quota": Quota(settings),
            "streams": Streams(settings.streams_per_subject),
        },
        middleware=[_cors(settings)],
        answer_within_s=None,
    )


def _cors(settings: GatewaySettings) -> Middleware:
    return Middleware(
        CORSMiddleware,
        allow_origins=settings.cors_origins,
        allow_methods=("GET", "POST", "PUT", "DELETE"),
        allow_headers=("Authorization", "Content-Type", "Idempotency-Key", "If-Match", "Last-Event-ID"),
        expose_headers=EXPOSED,
        max_age=600,
    )
