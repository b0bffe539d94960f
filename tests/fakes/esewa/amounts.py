"""Amounts as eSewa writes and reads them: rupee text outside, integer paisa inside."""

import re

RUPEES = re.compile(r"([0-9]{1,9})(?:\.([0-9]{1,2}))?")
PAISA_PER_RUPEE = 100
JAVA_SWITCHES_TO_EXPONENT_AT = 10_000_000


def paisa(text: str) -> int | None:
    """Paisa in a rupee text of at most two decimals; None when it is no such text."""
    match = RUPEES.fullmatch(text)
    if match is None:
        return None
    rupees, decimals = match.groups(default="")
    return int(rupees) * PAISA_PER_RUPEE + int(decimals.ljust(2, "0"))


def java_double(amount_paisa: int) -> str:
    """The rupees as Java prints a double: 110.0, 147.5, and 1.23456785E7 from ten million on."""
    rupees, rest = divmod(amount_paisa, PAISA_PER_RUPEE)
    if rupees < JAVA_SWITCHES_TO_EXPONENT_AT:
        return f"{rupees}.{_decimals(f'{rest:02d}')}"
    digits = f"{rupees}{rest:02d}"
    return f"{digits[0]}.{_decimals(digits[1:])}E{len(str(rupees)) - 1}"


def grouped(amount_paisa: int) -> str:
    """The rupees with thousands commas, as returns of 2024 carried them: 2,212.4."""
    rupees, rest = divmod(amount_paisa, PAISA_PER_RUPEE)
    return f"{rupees:,}.{_decimals(f'{rest:02d}')}"


def _decimals(digits: str) -> str:
    return digits.rstrip("0") or "0"
