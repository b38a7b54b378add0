"""Numbers as people read them, and text that cannot harm a terminal."""

from __future__ import annotations

import pytest

from autophage.live.format import count, duration, safe, shortened, size, value
from autophage.live.marks import ASCII, UNICODE, bar, cells, sparkline


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
def test_safe(text, shown):
    assert safe(text) == shown


def test_safe_keeps_what_it_is_told_to():
    assert safe("a\n\tb\x00", keep="\n\t") == "a\n\tb\\x00"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "?"),
        (float("inf"), "?"),
        (-3.0, "0:00"),
        (59.6, "1:00"),
        (3723, "1:02:03"),
        (2 * 86400 + 3 * 3600, "2d 03:00:00"),
    ],
)
def test_duration(seconds, shown):
    assert duration(seconds) == shown


def test_numbers():
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


def test_shortened():
    assert shortened("alpha-1.0", 9) == "alpha-1.0"
    assert shortened("alpha-1.0_seed-2", 9) == "alpha-1.."


def test_cells_of_many_generations_are_full_only_when_done():
    assert cells(2, True, 6, 10, UNICODE) == ("●●", "◐", "○○○")
    assert cells(99, True, 100, 10, UNICODE) == ("●" * 9, "◐", "")
    assert cells(100, False, 100, 10, UNICODE) == ("●" * 10, "", "")
    assert cells(0, False, 3, 0, ASCII) == ("", "", ".")


def test_bar():
    assert bar(99.9, 100, 10, UNICODE) == ("━" * 9, "─")
    assert bar(120, 100, 4, ASCII) == ("====", "")
    assert bar(0, 0, 4, ASCII) == ("", "----")


def test_sparkline():
    assert sparkline([0.0, 0.5, 1.0], 0.0, 1.0, 16, UNICODE) == "▁▅█"
    assert sparkline([0.2, 0.2], 0.2, 0.2, 16, UNICODE) == "▁▁"
    assert sparkline([1.0, float("inf"), float("nan")], 1.0, 2.0, 16, UNICODE) == "▁██"
    thinned = sparkline([float(number) for number in range(100)], 0.0, 99.0, 8, UNICODE)
    assert thinned == "▁▂▃▄▅▆▇█"
    assert sparkline([1.0], 0.0, 1.0, 8, ASCII) == ""
