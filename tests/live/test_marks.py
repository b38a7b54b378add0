"""Drawings of a row: cells, bars and sparklines."""

from __future__ import annotations

from autophage.live.marks import ASCII, UNICODE, bar, cells, sparkline


def test_cells_of_many_generations_are_full_only_when_done() -> None:
    assert cells(2, True, 6, 10, UNICODE) == ("●●", "◐", "○○○")
    assert cells(99, True, 100, 10, UNICODE) == ("●" * 9, "◐", "")
    assert cells(100, False, 100, 10, UNICODE) == ("●" * 10, "", "")
    assert cells(0, False, 3, 0, ASCII) == ("", "", ".")


def test_bar() -> None:
    assert bar(99.9, 100, 10, UNICODE) == ("━" * 9, "─")
    assert bar(120, 100, 4, ASCII) == ("====", "")
    assert bar(0, 0, 4, ASCII) == ("", "----")


def test_sparkline() -> None:
    assert sparkline([0.0, 0.5, 1.0], 0.0, 1.0, 16, UNICODE) == "▁▅█"
    assert sparkline([0.2, 0.2], 0.2, 0.2, 16, UNICODE) == "▁▁"
    assert sparkline([1.0, float("inf"), float("nan")], 1.0, 2.0, 16, UNICODE) == "▁██"
    thinned = sparkline([float(number) for number in range(100)], 0.0, 99.0, 8, UNICODE)
    assert thinned == "▁▂▃▄▅▆▇█"
    assert sparkline([1.0], 0.0, 1.0, 8, ASCII) == ""
