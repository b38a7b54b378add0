"""A run as lines of text, for logs and pipes.

Each stage, commit and note is one line with a time. Progress is repeated at most every `QUIET_SECONDS`, which keeps
the log of a run of days readable.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self, TextIO

from autophage.display import count, duration, plural, safe, value
from autophage.live.eta import time_left
from autophage.live.headline import LABELS, columns
from autophage.live.reducer import Event, RunState, fold, fold_all

QUIET_SECONDS = 20.0
"""Shortest time in seconds between two lines of progress, over all arms."""


class PlainView:
    """View that prints the events of a run as lines of text to `stream`. Events of `history` are not printed."""

    def __init__(self, stream: TextIO, history: Iterable[Mapping[str, Any]] = ()) -> None:
        self._stream = stream
        self._state = fold_all(history)
        self._last_progress = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.flush()

    def handle(self, event: dict[str, Any]) -> None:
        self._state = fold(self._state, event)
        moment = self._state.last if "time" not in event else float(event["time"])
        if event.get("kind") in ("base-progress", "stage-progress"):
            if moment - self._last_progress < QUIET_SECONDS:
                return
            self._last_progress = moment
        line = describe(self._state, event)
        if line:
            print(f"{time.strftime('%H:%M:%S', time.localtime(moment))}  {line}", file=self._stream, flush=True)


def describe(state: RunState, event: Event) -> str:
    """Return one line about `event`, given the state of the run after it.

    The line is empty for an event that is not shown.
    """
    describer = DESCRIBERS.get(str(event.get("kind", "")))
    return "" if describer is None else describer(state, event)


def _run_start(state: RunState, event: Event) -> str:
    resumed = f", resumed at {state.resumed_at} of {state.total} generations" if state.resumed_at else ""
    arms = plural(len(state.arms), "arm")
    return f"run {safe(state.name)}: {arms}, generations 0 to {state.generations}, {safe(state.devices)}{resumed}"


def _note(state: RunState, event: Event) -> str:
    return safe(event.get("text", ""))


def _base_progress(state: RunState, event: Event) -> str:
    done, total = int(event.get("done", 0)), int(event.get("total", 0))
    loss = "" if event.get("loss") is None else f", loss {value(float(event['loss']))}"
    return f"base model: {_share(done, total)} of {count(total)} tokens{loss}"


def _stage_progress(state: RunState, event: Event) -> str:
    rate = float(event.get("tokens_per_second") or 0.0)
    speed = f", {count(rate)} tokens/s" if rate else ""
    share = _share(int(event.get("done", 0)), int(event.get("total", 0)))
    return f"{_place(event)}: {safe(event.get('stage', ''))} {share}{speed}"


def _stage_end(state: RunState, event: Event) -> str:
    if event.get("brief"):  # thousands of stages of milliseconds: the line of the commit is enough
        return ""
    seconds, tokens = float(event.get("seconds") or 0.0), int(event.get("tokens") or 0)
    speed = f", {count(tokens)} tokens, {count(tokens / seconds)} tokens/s" if tokens and seconds else ""
    return f"{_place(event)}: {safe(event.get('stage', ''))} took {seconds:.1f} s{speed}"


def _commit(state: RunState, event: Event) -> str:
    metrics = event.get("metrics") or {}
    facts = "".join(f", {LABELS[name]} {value(metrics[name])}" for name in columns(metrics))
    left = time_left(state, state.last)
    remaining = "" if left is None else f"; {duration(left)} left"
    return f"{_place(event)}: committed{facts} [{state.committed} of {state.total}{remaining}]"


def _run_end(state: RunState, event: Event) -> str:
    return f"run {safe(state.name)}: finished in {duration(event.get('seconds'))}"


def _interrupted(state: RunState, event: Event) -> str:
    return f"interrupted: {safe(state.message)} ({state.committed} of {state.total} generations are committed)"


def _failed(state: RunState, event: Event) -> str:
    return f"failed: {safe(state.message)} ({state.committed} of {state.total} generations are committed)"


def _place(event: Event) -> str:
    return f"{safe(event.get('arm', ''))}, generation {event.get('generation', 0)}"


def _share(done: int, total: int) -> str:
    return f"{done / total:.0%}" if total else str(done)


DESCRIBERS = {
    "run-start": _run_start,
    "note": _note,
    "base-progress": _base_progress,
    "stage-progress": _stage_progress,
    "stage-end": _stage_end,
    "commit": _commit,
    "run-end": _run_end,
    "interrupted": _interrupted,
    "failed": _failed,
}
