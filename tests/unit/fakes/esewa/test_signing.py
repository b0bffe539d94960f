"""The simulator signs exactly as the published and captured eSewa payloads do."""

import pytest

from tests.fakes.esewa.signing import PUBLIC_TEST_KEY, REQUEST_FIELDS, RETURN_FIELDS, is_signed, sign

REQUESTS = [
    ("110", "241028", "i94zsd3oXF6ZsSr/kGqT4sSzYQzjj1W/waxjWyRwaME="),
    ("100", "11-201-13", "5DZywcrTKD0gia/rsSMcrRHmJl+4Tbol6S+lWgdJ94E="),
    ("1", "kbs-0001-a1", "WctGdj8YBfbTdNRKx9GOyXZoS5JTF4z1U2WWtPKMMsI="),
    ("349", "kbs-0002-a1", "BtoewZ78LC/Mr0MNcnG39goBtw5DvVuAM0r3ahXfqhQ="),
    ("147.50", "kbs-0003-a1", "9Dy4NZEOohBVI5jhOKBip26WLNqtXN6pdAcAmLsGmPo="),
    ("99.99", "kbs-0004-a1", "27j+7ndajOu9ti0AcTcm1bJvf5ySn9qxBNQGZDsRts4="),
    ("1500.05", "kbs-0005-a2", "sW2ktJs0e2g3Iti7n5Sz0jHDXZgATaqeaMYE1+ZAiGI="),
]

RETURNS = [
    ("000AWEO", "COMPLETE", "1000.0", "250610-162413", "62GcfZTmVkzhtUeh+QJ1AqiJrjoWWGof3U+eTPTZ7fA="),
    ("0009TST", "COMPLETE", "349.0", "kbs-0002-a1", "2Br4YQIKh5ddoV5yrEfglpMBZ6ELQRRGMC5YgrF3uVU="),
    ("0009TSU", "COMPLETE", "147.5", "kbs-0003-a1", "zJHMKXs9cCk/WD7JQxJjrjp8yZQiECAqEWPLQLCvK1M="),
    ("0009TSV", "PENDING", "99.99", "kbs-0004-a1", "ENPr3vD4oLli4P/3YC+/ZwOz9eQ+uMyY+MQjk2iEg2A="),
    ("0009TSW", "COMPLETE", "1500.05", "kbs-0005-a2", "Icv9AaMleAB7OiVmhPzrrAs6znlQ5gqIlTcg2RZG+Fg="),
    ("00096MS", "COMPLETE", "2212.4", "T-Z-J-Z-R", "pteZSW2aGJQf/Xq4aBChs9AXjeTtgcTv1ygKOgy41K4="),
    # The comma stands only on the wire: what is signed is the text without it.
    ("0009TSX", "COMPLETE", "1500.05", "kbs-0005-a2", "kSKLEzFgaUYgaB9NFNfMgqPZR577yx0C9jSmKTBkDMw="),
]


@pytest.mark.parametrize(("amount", "uuid", "signature"), REQUESTS)
def test_a_request_is_signed_as_published(amount: str, uuid: str, signature: str) -> None:
    form = {"total_amount": amount, "transaction_uuid": uuid, "product_code": "EPAYTEST"}
    assert sign(form, REQUEST_FIELDS, PUBLIC_TEST_KEY) == signature
    assert is_signed(form | {"signature": signature}, PUBLIC_TEST_KEY)
    assert not is_signed(form | {"signature": signature}, "another key")
    assert not is_signed(form | {"signature": signature, "total_amount": "2"}, PUBLIC_TEST_KEY)


@pytest.mark.parametrize(("code", "status", "amount", "uuid", "signature"), RETURNS)
def test_a_return_is_signed_as_captured(
    code: str, status: str, amount: str, uuid: str, signature: str
) -> None:
    payload = {
        "transaction_code": code,
        "status": status,
        "total_amount": amount,
        "transaction_uuid": uuid,
        "product_code": "EPAYTEST",
        "signed_field_names": ",".join(RETURN_FIELDS),
    }
    assert sign(payload, RETURN_FIELDS, PUBLIC_TEST_KEY) == signature
