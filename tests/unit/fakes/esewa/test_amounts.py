"""The simulator writes amounts as eSewa's Java service does and reads only plain rupee texts."""

import pytest

from tests.fakes.esewa.amounts import grouped, java_double, paisa


@pytest.mark.parametrize(
    ("amount_paisa", "text"),
    [
        (1, "0.01"),
        (10, "0.1"),
        (11_000, "110.0"),
        (14_750, "147.5"),
        (150_005, "1500.05"),
        (999_999_999, "9999999.99"),
        (1_000_000_000, "1.0E7"),
        (1_234_567_850, "1.23456785E7"),
        (12_345_678_909, "1.2345678909E8"),
    ],
)
def test_an_amount_looks_like_a_java_double(amount_paisa: int, text: str) -> None:
    assert java_double(amount_paisa) == text


@pytest.mark.parametrize(
    ("amount_paisa", "text"),
    [(221_240, "2,212.4"), (264_000, "2,640.0"), (11_000, "110.0"), (123_456_705, "1,234,567.05")],
)
def test_an_amount_of_2024_has_thousands_commas(amount_paisa: int, text: str) -> None:
    assert grouped(amount_paisa) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("110", 11_000),
        ("147.5", 14_750),
        ("147.50", 14_750),
        ("0.01", 1),
        ("0", 0),
        ("999999999.99", 99_999_999_999),
    ],
)
def test_rupee_text_becomes_paisa(text: str, expected: int) -> None:
    assert paisa(text) == expected


@pytest.mark.parametrize(
    "text", ["", "1,0.0", "1e3", "٣", "१", "1\n", "1.005", "-1", "NaN", ".5", "5.", " 5", "1234567890"]
)
def test_anything_else_is_no_amount(text: str) -> None:
    assert paisa(text) is None
