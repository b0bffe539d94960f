"""Door 2, HTTP: what a payer needs, the way back from a gateway, and the desk of the admins."""

from fastapi import APIRouter

from services.payments import operator_api
from services.payments.api import admin, payers, returns

router = APIRouter()
router.include_router(payers.router)
router.include_router(returns.router)
router.include_router(admin.router)
router.include_router(operator_api.router)
