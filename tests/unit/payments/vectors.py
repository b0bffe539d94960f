"""Published and captured figures of eSewa: forms, returns and their signatures."""

import base64
import json
from typing import Final

from services.payments.providers.esewa import RETURN_FIELDS, signature

KEY: Final = "8gBm/:&EnhH.1/q"

FORMS: Final = [
    ("110", "241028", "i94zsd3oXF6ZsSr/kGqT4sSzYQzjj1W/waxjWyRwaME="),
    ("100", "11-201-13", "5DZywcrTKD0gia/rsSMcrRHmJl+4Tbol6S+lWgdJ94E="),
    ("1", "kbs-0001-a1", "WctGdj8YBfbTdNRKx9GOyXZoS5JTF4z1U2WWtPKMMsI="),
    ("349", "kbs-0002-a1", "BtoewZ78LC/Mr0MNcnG39goBtw5DvVuAM0r3ahXfqhQ="),
    ("147.50", "kbs-0003-a1", "9Dy4NZEOohBVI5jhOKBip26WLNqtXN6pdAcAmLsGmPo="),
    ("99.99", "kbs-0004-a1", "27j+7ndajOu9ti0AcTcm1bJvf5ySn9qxBNQGZDsRts4="),
    ("1500.05", "kbs-0005-a2", "sW2ktJs0e2g3Iti7n5Sz0jHDXZgATaqeaMYE1+ZAiGI="),
]

# code, status, amount on the wire, amount in paisa, reference, signature
RETURNS: Final = [
    (
        "000AWEO",
        "COMPLETE",
        "1000.0",
        100_000,
        "250610-162413",
        "62GcfZTmVkzhtUeh+QJ1AqiJrjoWWGof3U+eTPTZ7fA=",
    ),
    ("0009TST", "COMPLETE", "349.0", 34_900, "kbs-0002-a1", "2Br4YQIKh5ddoV5yrEfglpMBZ6ELQRRGMC5YgrF3uVU="),
    ("0009TSU", "COMPLETE", "147.5", 14_750, "kbs-0003-a1", "zJHMKXs9cCk/WD7JQxJjrjp8yZQiECAqEWPLQLCvK1M="),
    ("0009TSV", "PENDING", "99.99", 9_999, "kbs-0004-a1", "ENPr3vD4oLli4P/3YC+/ZwOz9eQ+uMyY+MQjk2iEg2A="),
    (
        "0009TSW",
        "COMPLETE",
        "1500.05",
        150_005,
        "kbs-0005-a2",
        "Icv9AaMleAB7OiVmhPzrrAs6znlQ5gqIlTcg2RZG+Fg=",
    ),
    (
        "0009TSX",
        "COMPLETE",
        "1,500.05",
        150_005,
        "kbs-0005-a2",
        "kSKLEzFgaUYgaB9NFNfMgqPZR577yx0C9jSmKTBkDMw=",
    ),
    ("00096MS", "COMPLETE", "2,212.4", 221_240, "T-Z-J-Z-R", "pteZSW2aGJQf/Xq4aBChs9AXjeTtgcTv1ygKOgy41K4="),
]

FULL_DATA: Final = (
    "eyJ0cmFuc2FjdGlvbl9jb2RlIjoiMDAwOVRTVCIsInN0YXR1cyI6IkNPTVBMRVRFIiwidG90YWxfYW1vdW50IjoiMzQ5LjAiLCJ0cmFu"
    "c2FjdGlvbl91dWlkIjoia2JzLTAwMDItYTEiLCJwcm9kdWN0X2NvZGUiOiJFUEFZVEVTVCIsInNpZ25lZF9maWVsZF9uYW1lcyI6InRy"
    "YW5zYWN0aW9uX2NvZGUsc3RhdHVzLHRvdGFsX2Ftb3VudCx0cmFuc2FjdGlvbl91dWlkLHByb2R1Y3RfY29kZSxzaWduZWRfZmllbGRf"
    "bmFtZXMiLCJzaWduYXR1cmUiOiIyQnI0WVFJS2g1ZGRvVjV5ckVmZ2xwTUJaNkVMUVJSR01DNVlnckYzdVZVPSJ9"
)


def payload(code: str, status: str, amount: str, reference: str, signed: str) -> dict[str, str]:
    """The seven fields of a return."""
    return {
        "transaction_code": code,
        "status": status,
        "total_amount": amount,
        "transaction_uuid": reference,
        "product_code": "EPAYTEST",
        "signed_field_names": ",".join(RETURN_FIELDS),
        "signature": signed,
    }


def signed(fields: dict[str, str], key: str = KEY) -> dict[str, str]:
    """The same fields, signed as the gateway signs whatever they say."""
    return fields | {"signature": signature(key, fields, RETURN_FIELDS)}


def wire(fields: object) -> str:
    """A payload as it stands behind `?data=`."""
    text = (
        fields if isinstance(fields, str) else json.dumps(fields, separators=(",", ":"), ensure_ascii=False)
    )
    return base64.b64encode(text.encode()).decode()
