"""A run drawn on a terminal: a header, one or two lines for each arm, notes at the bottom.

`Frame` draws one state at the terminal's current size. `RichView` keeps the latest state, and rich redraws it from its
own thread. States are immutable, so that is safe. All foreign text passes through `safe`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console, ConsoleOptions
from rich.live import Live
from rich.text import Text

from autophage.display import count, duration, plural, safe, shortened, value
from autophage.live.eta import base_left, time_left
from autophage.live.headline import LABELS, TORSO, curves
from autophage.live.marks import ASCII, UNICODE, Glyphs, bar, cells, sparkline
from autophage.live.reducer import ArmState, RunState, StageProgress, fold, fold_all

FRAMES_PER_SECOND = 6
WIDE = 120
"""Terminal width in columns from which an arm is one line, with its curves behind its stage."""
NARROW = 60
"""Terminal width in columns below which an arm shows name, generation and stage only."""
LONGEST_NAME = 24
LONGEST_CURVE = 16
OUTCOME_STYLES = {"finished": "green", "interrupted": "yellow", "failed": "red"}


class RichView:
    """View that draws a run on a terminal, from its first event on.

    A run without events leaves no trace on the screen. Events of `history` only set the state.
    """

    def __init__(self, console: Console, history: Iterable[Mapping[str, Any]] = ()) -> None:
        self._state = fold_all(history)
        self._live = Live(console=console, get_renderable=self._frame, refresh_per_second=FRAMES_PER_SECOND)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def handle(self, event: dict[str, Any]) -> None:
        self._state = fold(self._state, event)
        self._live.start()

    def _frame(self) -> Frame:
        return Frame(self._state, time.time())


class Frame:
    """Drawing of the state of a run at time `now` (seconds since the epoch), fitted to the terminal."""

    def __init__(self, state: RunState, now: float) -> None:
        self.state = state
        self.now = state.last if state.outcome else now

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        glyphs = ASCII if options.ascii_only else UNICODE
        width = options.max_width
        for line in self.lines(width, console.height, glyphs):
            line.no_wrap = True
            line.truncate(width)
            yield line

    def lines(self, width: int, height: int, glyphs: Glyphs) -> list[Text]:
        """Return the lines of the drawing for a terminal of `width` columns and `height` rows.

        There are at most `height` lines, unless a single arm does not fit.
        """
        head = self._header(width, glyphs)
        foot = self._notes(glyphs) if width >= NARROW else []
        draw, lines_each = self._row_drawer(width, glyphs)
        room = max(1, (height - len(head) - len(foot) - 2) // lines_each)
        shown, hidden = self._choose(room)
        body = [line for arm in shown for line in draw(arm)]
        if hidden:
            body.append(Text(_summary(hidden, self.state.generations), style="dim"))
        return [*head, *body, *foot]

    def _header(self, width: int, glyphs: Glyphs) -> list[Text]:
        state = self.state
        if state.started is None:
            return [Text("waiting for the run to start", style="dim")]
        left = f"left {duration(time_left(state, self.now))}" if not state.outcome else state.outcome
        times = f"elapsed {duration(state.elapsed(self.now))}   {left}"
        title = Text().append(shortened(safe(state.name), max(8, width - len(times) - 3)), style="bold")
        gap = max(2, width - title.cell_len - len(times))
        title.append(" " * gap).append(times, style=OUTCOME_STYLES.get(state.outcome, "default"))
        progress = f" {state.committed} of {state.total} generations"
        if state.resumed_at and width >= NARROW:
            progress += f", {state.resumed_at} from earlier sessions"
        lines = [title, _bar_text(state.committed, state.total, max(4, width - len(progress)), glyphs).append(progress)]
        if state.base is not None:
            lines.append(self._base_line(width, glyphs))
        if state.message:
            lines.append(Text(f"{state.outcome}: {safe(state.message)}", style=OUTCOME_STYLES.get(state.outcome, "")))
        return lines

    def _base_line(self, width: int, glyphs: Glyphs) -> Text:
        base = self.state.base
        assert base is not None
        loss = "" if base.loss is None else f"  loss {value(base.loss)}"
        facts = f" {_percent(base.done, base.total)} of {count(base.total)} tokens{loss}"
        facts += f"  {duration(base_left(base, self.now))} left"
        line = Text("base model ")
        room = min(40, width - line.cell_len - len(facts))
        return (line.append_text(_bar_text(base.done, base.total, room, glyphs)) if room >= 4 else line).append(facts)

    def _notes(self, glyphs: Glyphs) -> list[Text]:
        return [Text(f"{glyphs.bullet} {safe(note)}", style="dim") for note in self.state.notes]

    def _choose(self, room: int) -> tuple[list[ArmState], list[ArmState]]:
        """Split the arms into at most `room` that are drawn, and others that are only counted.

        Arms with a running stage are drawn first. Finished arms come last. Both lists keep the run's order.
        """
        arms = list(self.state.arms.values())
        ranked = sorted(arms, key=lambda arm: (arm.stage is None, arm.committed > self.state.generations))
        chosen = {arm.name for arm in ranked[:room]}
        return [arm for arm in arms if arm.name in chosen], [arm for arm in arms if arm.name not in chosen]

    def _row_drawer(self, width: int, glyphs: Glyphs) -> tuple[Callable[[ArmState], list[Text]], int]:
        names = max((len(safe(arm.name)) for arm in self.state.arms.values()), default=4)
        names = min(names, LONGEST_NAME, max(8, width // 4))
        curve_names = curves(self.state.metrics)
        if width < NARROW:
            return lambda arm: [self._short_row(arm, names)], 1
        if width >= WIDE:
            room = width - 40 * len(curve_names)

            def one_line(arm: ArmState) -> list[Text]:
                line = self._stage_row(arm, names, room - 2, glyphs)
                line.append(" " * max(2, room - line.cell_len)).append_text(self._curves(arm, curve_names, 38, glyphs))
                return [line]

            return one_line, 1
        if not curve_names:
            return lambda arm: [self._stage_row(arm, names, width, glyphs)], 1

        def two_lines(arm: ArmState) -> list[Text]:
            each = (width - names - 1) // len(curve_names)
            curve = Text(" " * (names + 1)).append_text(self._curves(arm, curve_names, each, glyphs))
            return [self._stage_row(arm, names, width, glyphs), curve]

        return two_lines, 2

    def _name(self, arm: ArmState, width: int) -> Text:
        style = "dim" if arm.control else "bold"
        return Text().append(shortened(safe(arm.name), width).ljust(width), style=style)

    def _short_row(self, arm: ArmState, names: int) -> Text:
        line = self._name(arm, names).append(f" {arm.committed}/{self.state.generations + 1} ")
        stage = arm.stage
        if stage is None:
            return line.append(self._idle(arm), style="dim")
        return line.append(f"{safe(stage.name)} {_percent(stage.done, stage.total)}")

    def _stage_row(self, arm: ArmState, names: int, width: int, glyphs: Glyphs) -> Text:
        total = self.state.generations + 1
        line = self._name(arm, names).append(" ")
        done, now, to_come = cells(arm.committed, arm.stage is not None, total, width // 8, glyphs)
        line.append(done, style="green").append(now, style="yellow").append(to_come, style="dim")
        line.append(f" {arm.committed:>{len(str(total))}}/{total}  ")
        if arm.stage is None:
            return line.append(self._idle(arm), style="dim")
        return line.append_text(_stage_text(arm.stage, width - line.cell_len, glyphs))

    def _idle(self, arm: ArmState) -> str:
        if arm.committed > self.state.generations:
            return "finished"
        return "stopped" if self.state.outcome else "waiting"

    def _curves(self, arm: ArmState, metrics: list[str], width: int, glyphs: Glyphs) -> Text:
        """Return the label, first value, curve and latest value of each metric of an arm.

        Each metric takes `width` characters. A metric without values shows its label alone.
        """
        line = Text()
        for metric in metrics:
            points = [point[1] for point in arm.series.get(metric, ())]
            part = Text().append(f"{LABELS[metric]} ", style="dim")
            if points:
                low, high = self._range(metric)
                part.append(value(points[0])).append(" ")
                latest = value(points[-1])
                room = min(LONGEST_CURVE, width - part.cell_len - len(latest) - 3)
                curve = sparkline(points, low, high, room, glyphs) or glyphs.arrow
                part.append(curve, style="cyan").append(" ").append(latest, style="bold")
            part.append(" " * max(1, width - part.cell_len))
            line.append_text(part)
        return line

    def _range(self, metric: str) -> tuple[float, float]:
        """Return the lowest and highest value of a metric over all arms.

        One scale for all arms makes their curves comparable. An accuracy starts at 0. Without finite values the range
        is (0, 1).
        """
        points = [point[1] for arm in self.state.arms.values() for point in arm.series.get(metric, ())]
        finite = [point for point in points if abs(point) != float("inf") and point == point]
        if not finite:
            return 0.0, 1.0
        return (0.0 if metric == TORSO else min(finite)), max(finite)


def _stage_text(stage: StageProgress, width: int, glyphs: Glyphs) -> Text:
    text = Text(f"{safe(stage.name):<8}")
    facts = f" {_percent(stage.done, stage.total):>4}" if stage.total else ""
    if stage.tokens_per_second:
        facts += f"  {count(stage.tokens_per_second)} tok/s"
    room = min(20, width - text.cell_len - len(facts))
    if stage.total and room >= 4:
        text.append_text(_bar_text(stage.done, stage.total, room, glyphs))
    return text.append(facts)


def _bar_text(done: float, total: float, width: int, glyphs: Glyphs) -> Text:
    full, rest = bar(done, total, width, glyphs)
    return Text().append(full, style="green").append(rest, style="dim")


def _percent(done: float, total: float) -> str:
    return f"{int(100 * done / total)}%" if total else ""


def _summary(arms: list[ArmState], generations: int) -> str:
    """Count the arms that are not drawn: `6 more arms: 1 running, 2 finished, 3 waiting`."""
    running = sum(arm.stage is not None for arm in arms)
    finished = sum(arm.committed > generations for arm in arms)
    parts = {"running": running, "finished": finished, "waiting": len(arms) - running - finished}
    facts = ", ".join(f"{number} {name}" for name, number in parts.items() if number)
    return f"{plural(len(arms), 'more arm')}: {facts}"
