"""Payment forms as an honest merchant fills them in, for tests that have no merchant."""

from tests.fakes.esewa.signing import PUBLIC_TEST_KEY, REQUEST_FIELDS, sign

NOWHERE = "http://127.0.0.1:9"


def a_form(
    reference: str,
    total_amount: str = "110",
    *,
    merchant_url: str = NOWHERE,
    key: str = PUBLIC_TEST_KEY,
    **changed: str,
) -> dict[str, str]:
    """A form signed after `changed` was applied; rupees as eSewa wants them, all of them `amount`."""
    fields = {
        "amount": total_amount,
        "tax_amount": "0",
        "product_service_charge": "0",
        "product_delivery_charge": "0",
        "total_amount": total_amount,
        "transaction_uuid": reference,
        "product_code": "EPAYTEST",
        "success_url": f"{merchant_url}/success/{reference}",
        "failure_url": f"{merchant_url}/failure/{reference}",
        "signed_field_names": ",".join(REQUEST_FIELDS),
    } | changed
    return fields | {"signature": sign(fields, REQUEST_FIELDS, key)}
