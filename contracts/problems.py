"""The catalogue of refusals: every code a caller may meet, its usual status and what it means."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class ProblemType:
    """One kind of refusal; its page is `/problems/<slug>`."""

    status: int
    title: str

    @staticmethod
    def slug(code: str) -> str:
        """The code as it stands in a URL: `QUOTA_EXCEEDED` is `quota-exceeded`."""
        return code.lower().replace("_", "-")


CATALOGUE: Final[dict[str, ProblemType]] = {
    # The request itself
    "INVALID_JSON": ProblemType(400, "The body is not JSON as RFC 8259 and this interface define it"),
    "INVALID_REQUEST": ProblemType(400, "The request is malformed"),
    "INVALID_IDEMPOTENCY_KEY": ProblemType(400, "The Idempotency-Key is missing or malformed"),
    "INVALID_IF_MATCH": ProblemType(400, "If-Match must be one strong entity tag"),
    "REQUEST_TIMEOUT": ProblemType(408, "The body did not arrive in time"),
    "BODY_TOO_LARGE": ProblemType(413, "The body is too large"),
    "UNSUPPORTED_MEDIA_TYPE": ProblemType(415, "The body must be application/json in UTF-8"),
    "VALIDATION_FAILED": ProblemType(422, "Some fields are not valid"),
    "INVALID_CURSOR": ProblemType(422, "The cursor does not belong to this list"),
    "HEADERS_TOO_LARGE": ProblemType(431, "The header fields are too large"),
    # Who asks
    "UNAUTHENTICATED": ProblemType(401, "A bearer token is needed"),
    "INVALID_TOKEN": ProblemType(401, "The bearer token is not valid"),
    "FORBIDDEN": ProblemType(403, "This is not yours to do"),
    "QUOTA_EXCEEDED": ProblemType(429, "Too many requests"),
    "TOO_MANY_STREAMS": ProblemType(429, "Too many open streams"),
    # What is asked for
    "NOT_FOUND": ProblemType(404, "There is nothing here for you"),
    "METHOD_NOT_ALLOWED": ProblemType(405, "The resource does not know this method"),
    "PRECONDITION_REQUIRED": ProblemType(428, "If-Match is needed here"),
    "STALE": ProblemType(412, "The resource has changed since you read it"),
    "CONCURRENT_UPDATE": ProblemType(409, "Somebody else is changing this; try again"),
    "NOT_PAUSED": ProblemType(409, "It is not paused"),
    "NOT_CAUGHT_UP": ProblemType(409, "The service has not read all its topics yet"),
    "IDEMPOTENCY_KEY_IN_FLIGHT": ProblemType(409, "A request with this Idempotency-Key is still running"),
    "IDEMPOTENCY_KEY_REUSED": ProblemType(422, "This Idempotency-Key came with another body before"),
    # Cart and checkout
    "CART_EMPTY": ProblemType(422, "The cart is empty"),
    "CART_FULL": ProblemType(422, "A cart holds at most 50 lines"),
    "QUANTITY_LIMIT": ProblemType(422, "At most 50 units of one SKU in a checkout"),
    "PRODUCT_UNAVAILABLE": ProblemType(404, "The product is not on sale"),
    "VENDOR_NOT_FOUND": ProblemType(404, "The vendor does not exist"),
    "OUT_OF_STOCK": ProblemType(409, "Not enough is left"),
    "PAYMENT_METHOD_UNAVAILABLE": ProblemType(422, "This way to pay is not offered"),
    "CHECKOUT_REJECTED": ProblemType(409, "Not every line can be had; nothing is held"),
    "CHECKOUT_CLOSED": ProblemType(409, "The checkout has ended or is past this step"),
    "ATTEMPT_NOT_ALLOWED": ProblemType(409, "No new attempt to pay can be opened now"),
    # Orders and items
    "INVALID_TRANSITION": ProblemType(409, "The status does not allow this step"),
    "ORDER_ON_HOLD": ProblemType(409, "A person is looking at this order; nothing may ship"),
    "COLLECTION_REQUIRED": ProblemType(422, "Say how much cash was collected"),
    "NOTHING_TO_COLLECT": ProblemType(422, "There is no cash to collect with this step"),
    # Stock
    "STOCK_WOULD_GO_NEGATIVE": ProblemType(409, "Stock cannot fall below what is held"),
    "SKU_TAKEN": ProblemType(409, "The SKU belongs to another product"),
    # Payments
    "REFUND_TOO_LARGE": ProblemType(422, "More than what was paid cannot be refunded"),
    "REVIEW_CASE_CLOSED": ProblemType(409, "The review case is closed"),
    # Operations
    "NOT_PARKED": ProblemType(409, "The record is no longer parked"),
    "RECORD_IN_FLIGHT": ProblemType(409, "Somebody is at work on this just now; try again"),
    "REPLAY_TOO_LARGE": ProblemType(422, "The selection names more records than may be replayed at once"),
    "EDITING_OFF": ProblemType(403, "Editing parked records is switched off here"),
    "CHECKOUT_OPEN": ProblemType(409, "The checkout is open: there is no decision to tell again"),
    "ORDER_EMPTY": ProblemType(409, "An order without items cannot be told again"),
    "NOT_PAID": ProblemType(409, "There is no payment to tell again"),
    "ANSWERED": ProblemType(409, "Orders has answered: the payment need not be told again"),
    "ROLLUP_PAUSED": ProblemType(409, "The roll-up rests"),
    "ROLLUP_RUNNING": ProblemType(409, "The roll-up is running already"),
    # Us
    "INTERNAL_ERROR": ProblemType(500, "Something is wrong on our side"),
    "UPSTREAM_INVALID": ProblemType(502, "A service behind the gateway answered nonsense"),
    "SERVICE_UNAVAILABLE": ProblemType(503, "Try again in a moment"),
    "OUTBOX_BACKLOG": ProblemType(503, "More waits to be published than new work may add to"),
}
