"""Drawings at common terminal widths."""

from __future__ import annotations

import io

import pytest
from rich.cells import cell_len
from rich.console import Console
from tests.live.conftest import Event

from autophage.live.reducer import RunState, fold_all
from autophage.live.rich_view import Frame, RichView


def drawn(state: RunState, now: float, width: int, height: int = 25, encoding: str = "utf-8") -> list[str]:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=stream, width=width, height=height, record=True, force_terminal=True, color_system=None)
    console.print(Frame(state, now))
    return console.export_text().splitlines()


@pytest.mark.parametrize("width", [40, 60, 80, 140])
def test_no_line_is_wider_than_the_terminal(first_attempt: list[Event], width: int) -> None:
    now = first_attempt[-1]["time"]
    lines = drawn(fold_all(first_attempt), now, width)
    assert max(cell_len(line) for line in lines) <= width
    assert lines[0].startswith("demo")
    assert "left 53 s" in lines[0]
    assert lines[1].endswith("3 of 6 generations")
    assert any("control" in line and "train" in line and "40%" in line for line in lines)


def test_the_row_of_an_arm(first_attempt: list[Event]) -> None:
    lines = drawn(fold_all(first_attempt), first_attempt[-1]["time"], 80)
    control = next(number for number, line in enumerate(lines) if line.startswith("control"))
    assert lines[control].startswith("control ●◐○ 1/3  train   ━━━━━━━━────────────  40%  6000 tok/s")
    main = next(number for number, line in enumerate(lines) if line.startswith("main"))
    assert lines[main] == "main    ●●○ 2/3  waiting"
    assert "torso accuracy 0.90 █▆ 0.60" in lines[main + 1]
    assert "form ppl 1.25 ▁█ 1.30" in lines[main + 1]


def test_a_wide_terminal_has_one_line_an_arm(first_attempt: list[Event]) -> None:
    lines = drawn(fold_all(first_attempt), first_attempt[-1]["time"], 140)
    row = next(line for line in lines if line.startswith("main"))
    assert "waiting" in row
    assert "torso accuracy 0.90" in row
    assert "form ppl 1.25" in row


def test_text_from_outside_cannot_draw(first_attempt: list[Event]) -> None:
    note = {"time": 101.0, "kind": "note", "text": "\x1b[2J[bold red]x[/] \u202egnirts\n"}
    text = "\n".join(drawn(fold_all([*first_attempt, note]), first_attempt[-1]["time"], 80))
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert r"\x1b[2J[bold red]x[/] \u202egnirts\n" in text


def test_more_arms_than_lines_are_summed_up(first_attempt: list[Event]) -> None:
    start = {**first_attempt[0], "arms": [f"arm-{number}" for number in range(40)], "controls": []}
    working = {"time": 101.0, "kind": "stage-start", "arm": "arm-39", "generation": 0, "stage": "sample"}
    lines = drawn(fold_all([start, working]), 102.0, 80, height=12)
    assert len(lines) <= 12
    assert any(line.startswith("arm-39") for line in lines)
    assert any("more arms: " in line and "waiting" in line for line in lines)


def test_base_model_training(first_attempt: list[Event]) -> None:
    base = [{"time": 100.0 + at, "kind": "base-progress", "done": at, "total": 100, "loss": 2.5} for at in (10, 50)]
    line = next(line for line in drawn(fold_all([first_attempt[0], *base]), 150.0, 80) if line.startswith("base model"))
    assert "50% of 100 tokens  loss 2.50  40 s left" in line


def test_a_failed_run_says_why(first_attempt: list[Event]) -> None:
    failed = {"time": 200.0, "kind": "failed", "error": "the sampler died"}
    text = "\n".join(drawn(fold_all([*first_attempt, failed]), 1e9, 80))
    assert "failed: the sampler died" in text
    assert "stopped" in text
    assert "left" not in text


def test_a_terminal_without_unicode(first_attempt: list[Event]) -> None:
    lines = drawn(fold_all(first_attempt), first_attempt[-1]["time"], 80, encoding="ascii")
    assert all(line.isascii() for line in lines)
    assert any(line.startswith("control #>. 1/3  train   ========------------") for line in lines)


def test_before_the_first_event() -> None:
    assert drawn(fold_all([]), 0.0, 80) == ["waiting for the run to start"]


def test_the_cursor_comes_back_after_an_interrupt(first_attempt: list[Event]) -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=80, height=25, force_terminal=True)

    def interrupted_work() -> None:
        with RichView(console) as view:
            for event in first_attempt:
                view.handle(event)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted_work()
    written = stream.getvalue()
    assert written.index("\x1b[?25l") < written.rindex("\x1b[?25h")
    assert "3 of 6 generations" in written


def test_nothing_is_drawn_where_nothing_happened(finished: list[Event]) -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=80, height=25, force_terminal=True)
    with RichView(console, finished):
        pass
    assert stream.getvalue() == ""
