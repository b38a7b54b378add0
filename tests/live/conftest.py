"""Recorded events of a run with two arms and three generations. It is stopped and resumed."""

from __future__ import annotations

from typing import Any

import pytest

Event = dict[str, Any]

SECONDS = {"train": 10.0, "swap": 0.5, "sample": 5.0, "measure": 3.0, "commit": 0.5}


def start(time: float, **committed: int) -> Event:
    return {
        "time": time,
        "kind": "run-start",
        "name": "demo",
        "arms": ["main", "control"],
        "controls": ["control"],
        "generations": 2,
        "devices": "serial",
        "committed": committed,
    }


def generation(time: float, arm: str, number: int, accuracy: float) -> list[Event]:
    """All events of one (arm, generation) from `time` on, stage by stage."""
    place = {"arm": arm, "generation": number}
    events: list[Event] = []
    for stage, seconds in SECONDS.items():
        if stage == "train" and number == 0:
            continue
        events.append({"time": time, "kind": "stage-start", **place, "stage": stage})
        time += seconds
        ended = {"time": time, "kind": "stage-end", **place, "stage": stage, "seconds": seconds, "tokens": 1000}
        events.append(ended)
    metrics = {"knowledge/accuracy.torso": accuracy, "fluency/ppl_form": 1.25 + 0.05 * number}
    events.append({"time": time, "kind": "commit", **place, "metrics": metrics})
    return events


@pytest.fixture
def first_attempt() -> list[Event]:
    """Generation 0 of both arms, generation 1 of main, then an interruption while control trains."""
    events = [start(100.0), {"time": 100.0, "kind": "note", "text": "starting sampler and trainer"}]
    for arm, number in (("main", 0), ("control", 0), ("main", 1)):
        events += generation(events[-1]["time"], arm, number, 0.9 - 0.3 * number)
    place = {"arm": "control", "generation": 1, "stage": "train"}
    now = events[-1]["time"]
    events.append({"time": now, "kind": "stage-start", **place})
    events.append(
        {"time": now + 4, "kind": "stage-progress", **place, "done": 40, "total": 100, "tokens_per_second": 6000.0}
    )
    return events


@pytest.fixture
def interrupted(first_attempt: list[Event]) -> list[Event]:
    return [*first_attempt, {"time": first_attempt[-1]["time"] + 1, "kind": "interrupted", "reason": "Ctrl-C"}]


@pytest.fixture
def finished(interrupted: list[Event]) -> list[Event]:
    """The interrupted run, taken up an hour later and brought to its end."""
    events = [*interrupted, start(interrupted[-1]["time"] + 3600, main=2, control=1)]
    for arm, number in (("control", 1), ("main", 2), ("control", 2)):
        events += generation(events[-1]["time"], arm, number, 0.3 if arm == "main" else 0.88)
    events.append({"time": events[-1]["time"], "kind": "run-end", "seconds": 60.0})
    return events
