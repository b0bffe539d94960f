"""How the business is doing, over all services: what each says of its own work, side by side."""

import asyncio
from typing import Annotated, Any, Final, get_args

from fastapi import APIRouter, Depends, Request

from contracts.http.gateway import HealthView, Numbers
from services.chassis.auth import Principal
from services.chassis.errors import Problem
from services.gateway.api.admission import PROBLEMS, SIGNED_IN, admit
from services.gateway.upstreams import Name, Upstreams, parse

router = APIRouter(prefix="/v1", responses=PROBLEMS)
Operator = Annotated[Principal, Depends(admit("admin", "operator"))]
SERVICES: Final[tuple[Name, ...]] = get_args(Name)


@router.get("/admin/health", openapi_extra=SIGNED_IN, operation_id="get_admin_health")
async def get_health(request: Request, _: Operator) -> HealthView:
    """Every service's own numbers; `ok` only if all are well. One that does not answer says why instead."""
    said = await asyncio.gather(*(_of(request, name) for name in SERVICES))
    return HealthView(
        ok=all(one.get("ok") is True for one in said), services=dict(zip(SERVICES, said, strict=True))
    )


async def _of(request: Request, name: Name) -> dict[str, Any]:
    upstreams: Upstreams = request.app.state.upstreams
    try:
        reply = await upstreams.call(name, "GET", "/internal/health/business", headers=request.headers)
        return parse(reply, Numbers).model_dump()
    except Problem as problem:
        return {"ok": False, "error": problem.code, "detail": problem.detail}
