"""How long an actor may be silent: after the soft deadline it is looked at, after the hard one it counts as hung.

    soft = max(patience, SOFT_FACTOR x expected)        hard = HARD_OVER_SOFT x soft

`expected` is what the plan says of the whole stage, or the longest that this run has measured of that kind, whichever is
more. Both deadlines count from the last progress, so a stage that moves, however slowly, is never hung; and a stage of a large
model, whose single step may take minutes, is expected to take hours. Pure arithmetic, without clocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autophage.cluster.scheduler import Stage, Work

SOFT_FACTOR = 3.0
"""A plan from formulas alone is within this factor of what stages take; a pause as long as the whole stage is odd already."""
HARD_OVER_SOFT = 3.0
"""Between a note that something is odd and the end of a run of days."""

TOKEN_SECONDS = 120.0
"""For an engine to write one token: a step of the largest models takes seconds, a prefill of all its requests more."""

Planned = Mapping[tuple[str, int, Stage], float]


class Deadlines:
    def __init__(self, patience: float, planned: Planned | None = None, start: float = 0.0) -> None:
        """`planned` are seconds of each stage, `start` those of loading the model."""
        self._patience = patience
        self._planned = planned or {}
        self._start = start
        self._longest: dict[Stage, float] = {}

    def measured(self, work: Work, seconds: float) -> None:
        self._longest[work.stage] = max(seconds, self._longest.get(work.stage, 0.0))

    def expected(self, work: Work) -> float:
        """Seconds that the whole stage should take; 0 where nothing is known of it."""
        planned = self._planned.get((work.arm, work.generation, work.stage), 0.0)
        return max(planned, self._longest.get(work.stage, 0.0))

    def soft(self, work: Work) -> float:
        return self._soft(self.expected(work))

    def hard(self, work: Work) -> float:
        return HARD_OVER_SOFT * self.soft(work)

    @property
    def call(self) -> float:
        """Of a call that reports no progress; none does more than move or load a model."""
        return HARD_OVER_SOFT * self._soft(self._start)

    @property
    def token(self) -> float:
        """Of an engine that is asked for a token."""
        return min(TOKEN_SECONDS, self._patience)

    def _soft(self, expected: float) -> float:
        return max(self._patience, SOFT_FACTOR * expected)


def planned_stages(prediction: Mapping[str, Any] | None) -> tuple[dict[tuple[str, int, Stage], float], float]:
    """Seconds of every stage, and of the start, in a run's `plan.json`; nothing where it says nothing."""
    if prediction is None:
        return {}, 0.0
    try:
        stages = {
            (str(arm["name"]), generation, Stage(stage)): float(seconds)
            for arm in prediction["arms"]
            for generation, stages in enumerate(arm["generations"])
            for stage, seconds in stages.items()
        }
        return stages, float(prediction["start_seconds"])
    except (KeyError, TypeError, ValueError):  # written by another version: patience and measurements are left
        return {}, 0.0
