"""The lines of a log."""

from __future__ import annotations

import io
from collections.abc import Iterable

from tests.live.conftest import Event

from autophage.live.plain_view import PlainView


def lines_of(events: Iterable[Event], history: Iterable[Event] = ()) -> list[str]:
    stream = io.StringIO()
    with PlainView(stream, history) as view:
        for event in events:
            view.handle(event)
    return [line.split("  ", 1)[1] for line in stream.getvalue().splitlines()]


def test_a_run_from_start_to_end(finished: list[Event], interrupted: list[Event]) -> None:
    lines = lines_of(finished)
    assert lines[0] == "run demo: 2 arms, generations 0 to 2, serial"
    assert lines[1] == "starting sampler and trainer"
    assert "main, generation 0: sample took 5.0 s, 1000 tokens, 200 tokens/s" in lines
    assert "main, generation 1: committed, torso accuracy 0.60, form ppl 1.30 [3 of 6; 57 s left]" in lines
    assert "interrupted: Ctrl-C (3 of 6 generations are committed)" in lines
    assert "run demo: 2 arms, generations 0 to 2, serial, resumed at 3 of 6 generations" in lines
    assert lines[-1] == "run demo: finished in 1 min 00 s"


def test_progress_is_not_spam() -> None:
    place = {"kind": "stage-progress", "arm": "main", "generation": 1, "stage": "train"}
    events = [{"time": 100.0 + second, **place, "done": second, "total": 60} for second in range(60)]
    assert lines_of(events) == [f"main, generation 1: train {share}%" for share in (0, 33, 67)]


def test_history_is_known_but_not_told_again(finished: list[Event], interrupted: list[Event]) -> None:
    """A resumed run says only what is new, and counts what was there before."""
    lines = lines_of(finished[len(interrupted) :], history=interrupted)
    assert lines[0].endswith("resumed at 3 of 6 generations")
    assert any("[4 of 6; " in line for line in lines)


def test_a_line_is_one_line() -> None:
    assert lines_of([{"time": 1.0, "kind": "note", "text": "a\nb\x1b[0m"}]) == [r"a\nb\x1b[0m"]
