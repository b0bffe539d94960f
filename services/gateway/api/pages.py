"""What the interface says about itself: the document, and a page for every kind of refusal."""

from pathlib import Path
from typing import Final

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from contracts.problems import CATALOGUE, ProblemType
from services.chassis.errors import Problem

router = APIRouter(include_in_schema=False)

FROZEN: Final = Path(__file__).parents[3] / "contracts" / "openapi.json"
BY_SLUG: Final = {ProblemType.slug(code): (code, kind) for code, kind in CATALOGUE.items()}


@router.get("/v1/openapi.json")
async def openapi() -> Response:
    """The frozen document."""
    return Response(FROZEN.read_bytes(), media_type="application/json")


@router.get("/problems/{slug}")
async def problem(slug: str) -> Response:
    """What a problem `type` leads to."""
    if slug not in BY_SLUG:
        raise Problem(404, "NOT_FOUND")
    code, kind = BY_SLUG[slug]
    return JSONResponse({"code": code, "status": kind.status, "title": kind.title})
