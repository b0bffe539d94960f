"""eSewa's signatures, written from the published vectors and sharing no line with the services."""

import base64
import hashlib
import hmac
from collections.abc import Mapping

PUBLIC_TEST_KEY = "8gBm/:&EnhH.1/q"
REQUEST_FIELDS = ("total_amount", "transaction_uuid", "product_code")
RETURN_FIELDS = (
    "transaction_code",
    "status",
    "total_amount",
    "transaction_uuid",
    "product_code",
    "signed_field_names",
)


def sign(values: Mapping[str, str], fields: tuple[str, ...], key: str) -> str:
    """Base64 of the HMAC-SHA256 over `name=value` pairs joined by commas, in the order of `fields`."""
    message = ",".join(f"{name}={values[name]}" for name in fields)
    digest = hmac.digest(key.encode(), message.encode(), hashlib.sha256)
    return base64.b64encode(digest).decode()


def is_signed(form: Mapping[str, str], key: str) -> bool:
    expected = sign(form, REQUEST_FIELDS, key)
    return hmac.compare_digest(expected.encode(), form["signature"].encode())
