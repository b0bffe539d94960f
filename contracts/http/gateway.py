"""What only the gateway answers: the composed views of cart and checkout, and every refusal."""

from typing import Any, Literal
from uuid import UUID

from pydantic import ConfigDict, Field

from contracts.event import Method
from contracts.http import Answer
from contracts.http.orders import Checkout
from contracts.http.payments import Redirect


class ProblemField(Answer):
    """One thing wrong with a request: where (a JSON pointer) and what."""

    pointer: str
    code: str
    detail: str


class ProblemDocument(Answer):
    """RFC 9457; `type` leads to a page that says what the code means."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    trace_id: str
    errors: list[ProblemField] = Field(default_factory=list)
    checkout_id: UUID | None = None


class CartViewLine(Answer):
    """One cart line with what inventory says of it now; without the optional fields it is not on sale."""

    sku: str
    quantity: int
    on_sale: bool
    slug: str | None = None
    title: str | None = None
    vendor_id: UUID | None = None
    price_paisa: int | None = None
    available: int | None = None


class CartView(Answer):
    """`GET /v1/cart`; `subtotal_paisa` counts what is on sale, without delivery charges."""

    lines: list[CartViewLine]
    subtotal_paisa: int
    currency: Literal["NPR"] = "NPR"


class PaymentView(Answer):
    """How to pay: a redirect, or, where none is ready, where to ask for one (`retry`)."""

    method: Method
    redirect: Redirect | None = None
    retry: str | None = None


class CheckoutView(Checkout):
    """A checkout with the way to pay it."""

    payment: PaymentView


class ReturnView(Answer):
    """Answer to a browser return that asked for JSON: noted; the status page tells what came of it."""

    status_url: str


class Numbers(Answer):
    """What one service says of its own work; `ok` is false when somebody should look."""

    model_config = ConfigDict(extra="allow")

    ok: bool


class HealthView(Answer):
    """`GET /v1/admin/health`: every service's numbers, `{ok: false, error, detail}` where one is missing."""

    ok: bool
    services: dict[str, dict[str, Any]]
