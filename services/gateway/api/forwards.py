"""Routes that one service answers by itself, as a table: who may ask, what is asked, what is answered."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from inspect import Parameter, Signature
from typing import Annotated, Any, Final, TypeAlias
from urllib.parse import quote

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BaseModel

from contracts.http import Id, inventory, orders, payments
from services.chassis.errors import Problem
from services.chassis.http import IdempotencyKey, IfMatch
from services.gateway.api.admission import ANYONE, PROBLEMS, SIGNED_IN, admit, admit_anyone
from services.gateway.upstreams import Name, Reply, Upstreams

router = APIRouter(prefix="/v1")

CUSTOMER: Final = ("customer",)
VENDOR: Final = ("vendor", "admin")
ADMIN: Final = ("admin",)
STAFF: Final = ("admin", "operator", "support", "service")
PASSED_ON: Final = (
    "content-type",
    "etag",
    "location",
    "retry-after",
    "idempotency-replayed",
    "www-authenticate",
)
VISIBLE: Final = r"^[^/\x00-\x1f]*[^./\x00-\x1f][^/\x00-\x1f]*$"
"""One path segment, but not `.` or `..`."""
Segment: TypeAlias = Annotated[str, Path(min_length=1, max_length=200, pattern=VISIBLE)]
Limit: TypeAlias = Annotated[int, Query(ge=1, le=50)]
Filter: TypeAlias = Annotated[str | None, Query(min_length=1, max_length=500)]


@dataclass(frozen=True, slots=True)
class Forward:
    """One route: the same method and path at its service.

    `filters` are its query parameters; a `keyed` one needs an Idempotency-Key, a `versioned` one If-Match.
    """

    method: str
    path: str
    service: Name
    answer: type[BaseModel] | None
    ask: type[BaseModel] | None = None
    roles: tuple[str, ...] = ()
    status: int = 200
    filters: tuple[str, ...] = ()
    keyed: bool = False
    versioned: bool = False


PAGED: Final = ("limit", "after")
FORWARDS: Final = (
    Forward("GET", "/products", "inventory", inventory.ProductPage, filters=PAGED),
    Forward("GET", "/products/{slug}", "inventory", inventory.Product),
    Forward("DELETE", "/cart/items/{sku}", "orders", orders.Cart, roles=CUSTOMER),
    Forward("GET", "/orders", "orders", orders.OrderPage, roles=CUSTOMER, filters=PAGED),
    Forward("GET", "/orders/{id}", "orders", orders.Order, roles=CUSTOMER),
    Forward(
        "POST",
        "/orders/{id}/items/{item_id}/cancel",
        "orders",
        orders.OrderItem,
        orders.CancelItem,
        CUSTOMER,
        keyed=True,
        versioned=True,
    ),
    Forward(
        "POST",
        "/checkouts/{id}/attempts",
        "payments",
        payments.Attempt,
        payments.NewAttempt,
        CUSTOMER,
        201,
        keyed=True,
    ),
    Forward(
        "GET", "/vendor/items", "orders", orders.VendorItemPage, roles=VENDOR, filters=("status", *PAGED)
    ),
    Forward(
        "POST",
        "/vendor/items/{id}/status",
        "orders",
        orders.VendorItem,
        orders.ChangeItemStatus,
        VENDOR,
        keyed=True,
        versioned=True,
    ),
    Forward(
        "POST",
        "/vendor/stock/{sku}/adjustments",
        "inventory",
        inventory.Stock,
        inventory.AdjustStock,
        ("vendor",),
        201,
        keyed=True,
    ),
    Forward("PUT", "/admin/vendors/{id}", "inventory", inventory.Vendor, inventory.PutVendor, ADMIN),
    Forward("PUT", "/admin/products/{slug}", "inventory", inventory.Product, inventory.PutProduct, ADMIN),
    Forward("DELETE", "/admin/products/{slug}", "inventory", None, roles=ADMIN, status=204),
    Forward(
        "POST",
        "/admin/catalogue/imports",
        "inventory",
        inventory.Imported,
        inventory.Import,
        ADMIN,
        201,
        keyed=True,
    ),
    Forward(
        "POST",
        "/admin/stock/{sku}/adjustments",
        "inventory",
        inventory.Stock,
        inventory.AdjustStock,
        ADMIN,
        201,
        keyed=True,
    ),
    Forward(
        "GET",
        "/admin/orders",
        "orders",
        orders.OrderPage,
        roles=STAFF,
        filters=("customer_id", "stage", "status", *PAGED),
    ),
    Forward(
        "GET",
        "/admin/payments/refunds",
        "payments",
        payments.RefundPage,
        roles=ADMIN,
        filters=("state", *PAGED),
    ),
    Forward(
        "POST",
        "/admin/payments/refunds/{id}/complete",
        "payments",
        payments.Refund,
        payments.CompleteRefund,
        ADMIN,
        keyed=True,
    ),
    Forward(
        "GET",
        "/admin/payments/cases",
        "payments",
        payments.ReviewCasePage,
        roles=ADMIN,
        filters=("open", *PAGED),
    ),
    Forward(
        "POST", "/admin/payments/cases/{id}/refund", "payments", payments.ReviewCase, roles=ADMIN, keyed=True
    ),
    Forward(
        "POST", "/admin/payments/cases/{id}/uphold", "payments", payments.ReviewCase, roles=ADMIN, keyed=True
    ),
    Forward("POST", "/admin/payments/attempts/{id}/verify", "payments", payments.Verified, roles=ADMIN),
)


def _add(forward: Forward) -> None:
    router.add_api_route(
        forward.path,
        _endpoint(forward),
        methods=[forward.method],
        status_code=forward.status,
        response_model=forward.answer,
        responses=PROBLEMS,
        openapi_extra=SIGNED_IN if forward.roles else ANYONE,
        dependencies=[Depends(admit(*forward.roles) if forward.roles else admit_anyone)],
        name=f"{forward.method.lower()} {forward.path}",
        operation_id=_operation_id(forward),
    )


def _operation_id(forward: Forward) -> str:
    words = [word.strip("{}") for word in forward.path.split("/") if word]
    return "_".join([forward.method.lower(), *words])


def _endpoint(forward: Forward) -> Callable[..., Awaitable[Response]]:
    """A function whose signature tells FastAPI what to check and to document; it passes on what was sent.

    The body goes on byte for byte, so that its fingerprint is the one of what the caller sent.
    """

    async def endpoint(request: Request, **_: object) -> Response:
        upstreams: Upstreams = request.app.state.upstreams
        path = "/v1" + forward.path.format_map({k: quote(v, safe="") for k, v in request.path_params.items()})
        query = [
            (name, request.query_params[name]) for name in forward.filters if name in request.query_params
        ]
        body = await request.body()
        reply = await upstreams.call(
            forward.service, forward.method, path, headers=request.headers, query=query, body=body
        )
        return passed_on(reply)

    endpoint.__signature__ = Signature(_parameters(forward))  # type: ignore[attr-defined]
    return endpoint


def _parameters(forward: Forward) -> list[Parameter]:
    found: dict[str, tuple[Any, Any]] = {"request": (Request, Parameter.empty)}
    for word in forward.path.split("/"):
        if word.startswith("{"):
            name = word.strip("{}")
            found[name] = (Id if name.endswith("id") else Segment, Parameter.empty)
    for name in forward.filters:
        found[name] = (Limit, 20) if name == "limit" else (Filter, None)
    if forward.ask is not None:
        found["body"] = (forward.ask, Parameter.empty)
    if forward.keyed:
        found["idempotency_key"] = (IdempotencyKey, Parameter.empty)
    if forward.versioned:
        found["if_match"] = (IfMatch, Parameter.empty)
    return [
        Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in found.items()
    ]


def passed_on(reply: Reply) -> Response:
    """A service's answer as ours; one that is neither JSON nor a problem is not passed on."""
    kind = reply.headers.get("content-type", "")
    is_json = kind.startswith(("application/json", "application/problem+json"))
    if reply.status != HTTPStatus.NOT_MODIFIED and (reply.redirects or (reply.body and not is_json)):
        raise Problem(502, "UPSTREAM_INVALID")
    headers = {name: reply.headers[name] for name in PASSED_ON if name in reply.headers}
    return Response(reply.body, reply.status, headers)


for one in FORWARDS:
    _add(one)
