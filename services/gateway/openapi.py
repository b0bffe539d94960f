"""The OpenAPI document of the gateway; `python -m services.gateway.openapi` freezes it."""

import sys
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from contracts.http.gateway import ProblemDocument, ProblemField
from services.gateway.api import router
from services.gateway.api.pages import FROZEN

DESCRIPTION = """Orders of a multi-vendor marketplace. Money is in paisa (NPR 1 = 100), times are UTC,
ids are UUIDs. Refusals are `application/problem+json` with a stable `code`. No client shows success before
stage `confirmed`."""

NEEDED = {"Idempotency-Key", "If-Match"}
NOT_NEEDED = {"/v1/checkouts/{id}/cancel"}
"""Giving up needs no version; one that is given is held to."""


def document() -> dict[str, Any]:
    """The document of the routes as they are now."""
    app = FastAPI()
    app.include_router(router)
    found = get_openapi(
        title="KB Stylish", version="1", description=DESCRIPTION, routes=app.routes, openapi_version="3.2.0"
    )
    components = found["components"]
    for model in (ProblemDocument, ProblemField):
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schema.pop("$defs", None)
        components["schemas"][model.__name__] = schema
    for path, operations in found["paths"].items():
        for operation in operations.values():
            _name_headers(path, operation)
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT (RFC 9068)"}
    }
    return found


def _name_headers(path: str, operation: dict[str, Any]) -> None:
    """As people write them; a missing one is a 400 or 428 of ours, which FastAPI cannot know."""
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "header":
            parameter["name"] = parameter["name"].title()
            parameter["required"] = parameter["name"] in NEEDED and path not in NOT_NEEDED


def frozen_text() -> bytes:
    """The document as it stands in `contracts/openapi.json`."""
    return orjson.dumps(document(), option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n"


if __name__ == "__main__":
    FROZEN.write_bytes(frozen_text())
    sys.stdout.write(f"{FROZEN.name} written\n")
