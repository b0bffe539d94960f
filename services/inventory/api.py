"""Door 2, HTTP: the catalogue and the stock."""

from fastapi import APIRouter

router = APIRouter()
