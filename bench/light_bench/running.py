"""The same work inside a run, where sampler and trainer are two processes of Ray: their calls, and the wait for each other."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from pathlib import Path

from harness import runs
from harness.turns import Figures
from light_bench.asked import Asked

GENERATIONS = 2
"""Models trained in a run. Each corpus is sampled once more than that, as model 0 writes too."""

_turns = count()


def in_a_run(asked: Asked, folder: Path) -> Figures:
    """Milliseconds of a corpus and of a training step in a run, from its history."""
    loop = replace(asked.loop("lora"), generations=GENERATIONS)
    seconds = runs.execute(loop, folder / f"run-{next(_turns)}")
    steps = GENERATIONS * -(-asked.rows // asked.batch_size)
    return {"whole": 1e3 * seconds["sample"] / (GENERATIONS + 1), "step": 1e3 * seconds["train"] / steps}
