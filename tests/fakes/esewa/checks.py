"""What eSewa demands of a payment form before it shows a pay page."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.fakes.esewa.amounts import paisa
from tests.fakes.esewa.signing import REQUEST_FIELDS, is_signed
from tests.fakes.esewa.world import Form, World

PARTS = ("amount", "tax_amount", "product_service_charge", "product_delivery_charge")
MANDATORY = (
    *PARTS,
    "total_amount",
    "transaction_uuid",
    "product_code",
    "success_url",
    "failure_url",
    "signed_field_names",
    "signature",
)
STRICT_UUID = re.compile(r"[A-Za-z0-9-]+")
LENIENT_UUID_LENGTH = 255


@dataclass(frozen=True, slots=True)
class Refused:
    message: str


def check_form(world: World, fields: Mapping[str, str]) -> Form | Refused:
    missing = [name for name in MANDATORY if not fields.get(name)]
    if missing:
        return Refused(f"Missing field: {', '.join(missing)}.")
    if fields["product_code"] != world.product_code:
        return Refused("Unable to fetch merchant key...")
    if fields["signed_field_names"] != ",".join(REQUEST_FIELDS) or not is_signed(fields, world.key):
        return Refused("Invalid payload signature.")
    total_paisa = _total_paisa(fields)
    if isinstance(total_paisa, Refused):
        return total_paisa
    return _addresses(fields) or _reference(world, fields["transaction_uuid"]) or _form(fields, total_paisa)


def _total_paisa(fields: Mapping[str, str]) -> int | Refused:
    parts = [paisa(fields[name]) for name in PARTS]
    total = paisa(fields["total_amount"])
    readable = [part for part in parts if part is not None]
    if total is None or len(readable) < len(parts):
        return Refused("Invalid amount.")
    if total == 0 or sum(readable) != total:
        return Refused("Total amount is not the sum of its parts.")
    return total


def _addresses(fields: Mapping[str, str]) -> Refused | None:
    """Only http addresses can be returned to; a query in one is the merchant's own trouble."""
    for name in ("success_url", "failure_url"):
        if urlsplit(fields[name]).scheme not in ("http", "https"):
            return Refused(f"Invalid {name}.")
    return None


def _reference(world: World, reference: str) -> Refused | None:
    illegal = world.profile.strict_uuid and STRICT_UUID.fullmatch(reference) is None
    if illegal or len(reference) > LENIENT_UUID_LENGTH:
        return Refused("Invalid transaction UUID.")
    if reference in world.by_reference:
        return Refused("Duplicate transaction UUID.")
    return None


def _form(fields: Mapping[str, str], total_paisa: int) -> Form:
    return Form(
        reference=fields["transaction_uuid"],
        product_code=fields["product_code"],
        amount_paisa=total_paisa,
        total_amount=fields["total_amount"],
        success_url=fields["success_url"],
        failure_url=fields["failure_url"],
        signature=fields["signature"],
    )
