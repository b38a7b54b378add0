"""Whole runs of `autophage run` in their own process, and the times in their history."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import processes
from harness.subject import Loop, write_recipe

DEADLINE = 3600.0

RunEvent = Mapping[str, Any]


def execute(loop: Loop, folder: Path, overrides: Sequence[str] = ()) -> dict[str, float]:
    """Run the experiment in `folder`. Return the seconds of the process, of its work and of each stage."""
    folder.mkdir(parents=True)
    recipe = write_recipe(loop, folder)
    settings = [part for override in overrides for part in ("--set", override)]
    command = [sys.executable, "-m", "autophage", "run", str(recipe), "--out", str(folder / "run"), *settings]
    wall = processes.run(command, processes.quiet(), DEADLINE, folder / "log.txt")
    events = [json.loads(line) for line in (folder / "run" / "events.jsonl").read_text("utf-8").splitlines()]
    return {"wall": wall, **history(events)}


def history(events: Iterable[RunEvent]) -> dict[str, float]:
    """Seconds of each stage. A stage that arms share counts once. `working` lasts from the first stage to the run's end."""
    began: dict[tuple[str, int, str], float] = {}
    spans: dict[str, list[tuple[float, float]]] = {}
    end = 0.0
    for event in events:
        end = max(end, event["time"])
        if event["kind"] == "stage-start":
            began[event["arm"], event["generation"], event["stage"]] = event["time"]
        elif event["kind"] == "stage-end":
            start = began[event["arm"], event["generation"], event["stage"]]
            spans.setdefault(event["stage"], []).append((start, event["time"]))
    return {"working": end - min(began.values()), **{stage: union(found) for stage, found in spans.items()}}


def union(spans: Iterable[tuple[float, float]]) -> float:
    """Seconds that are covered by at least one of the spans."""
    total, until = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total
