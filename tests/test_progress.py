"""The meter of a stage's progress."""

from __future__ import annotations

from autophage.progress import Meter, Progress


def test_each_advance_is_shown() -> None:
    seen: list[Progress] = []
    meter = Meter(seen.append)
    meter.expect(10)
    assert (meter.progress, seen) == (Progress(0, 10), [])
    meter.advance()
    meter.advance(4, tokens=7, loss=0.5)
    assert seen == [Progress(1, 10), Progress(5, 10, 7, 0.5)]
    assert meter.progress == seen[-1]


def test_without_a_callback_it_counts() -> None:
    meter = Meter(total=2)
    meter.advance(tokens=3)
    assert meter.progress == Progress(1, 2, 3)
