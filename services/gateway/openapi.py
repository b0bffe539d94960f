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
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT (RFC 9068)"}
    }
    return found


def frozen_text() -> bytes:
    """The document as it stands in `contracts/openapi.json`."""
    return orjson.dumps(document(), option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n"


if __name__ == "__main__":
    FROZEN.write_bytes(frozen_text())
    sys.stdout.write(f"{FROZEN.name} written\n")
