"""Numbers as people read them, and text that cannot harm a terminal."""

from __future__ import annotations

import pytest

from autophage.display import count, duration, json_ready, listed, plural, safe, shortened, size, value, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 日本 👩‍🔬", "plain é 日本 👩‍🔬"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x9b31m\r\n\t", r"\x9b31m\r\n\t"),
        ("\u202eabc\u2066", r"\u202eabc\u2066"),
        ("\ud800", r"\ud800"),
    ],
)
def test_safe(text: str, shown: str) -> None:
    assert safe(text) == shown


def test_safe_keeps_what_it_is_told_to() -> None:
    assert safe("a\n\tb\x00", keep="\n\t") == "a\n\tb\\x00"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "?"),
        (float("inf"), "?"),
        (-3.0, "0.0 s"),
        (1.25, "1.2 s"),
        (9.96, "10 s"),
        (59.6, "1 min 00 s"),
        (61, "1 min 01 s"),
        (7260, "2 h 01 min"),
        (2 * 86400 + 3 * 3600, "2 d 03 h"),
    ],
)
def test_duration(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_numbers() -> None:
    assert [count(number) for number in (812, 9999, 12_345, 4_560_000, 7e9)] == [
        "812",
        "9999",
        "12.3k",
        "4.56M",
        "7.00B",
    ]
    assert [size(number) for number in (412, 3.4 * 2**20, 5 * 2**40)] == ["412 B", "3.4 MiB", "5.0 TiB"]
    assert [value(number) for number in (None, 0.0, 0.8701, 12.34, 250.4, 1.2e7, 2e-5)] == [
        "-",
        "0.00",
        "0.87",
        "12.3",
        "250",
        "1.2e+07",
        "2.0e-05",
    ]
    assert value(float("inf")) == "inf"


def test_shortened() -> None:
    assert shortened("alpha-1.0", 9) == "alpha-1.0"
    assert shortened("alpha-1.0_seed-2", 9) == "alpha-1.."


def test_only_invisible_characters_are_replaced() -> None:
    assert visible("caf\u00e9 \u4e16\nline") == [("caf\u00e9 \u4e16\nline", False)]
    assert visible("a\tb\u200d") == [("a", False), ("\\t", True), ("b", False), ("\\u200d", True)]


def test_words_for_numbers_of_things() -> None:
    assert [plural(1, "arm"), plural(3, "arm"), plural(2, "remedy", "remedies")] == ["1 arm", "3 arms", "2 remedies"]
    assert [listed(items) for items in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]


def test_json_has_null_for_numbers_that_it_lacks() -> None:
    assert json_ready({1: (float("nan"), 2.0, "x"), "y": [float("inf")]}) == {"1": [None, 2.0, "x"], "y": [None]}
