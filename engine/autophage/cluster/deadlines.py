"""Deadlines of silent actors. After the soft one an actor is examined; after the hard one it counts as hung.

    soft = max(patience, SOFT_FACTOR x expected)        hard = HARD_OVER_SOFT x soft

`expected` is the planned duration of the whole stage or the longest that this run has measured, whichever is more. Both
deadlines count from the last progress, so a stage that moves, however slowly, is never hung. A stage of a large model, whose
single step may take minutes, is expected to take hours. Pure arithmetic, without clocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from autophage.cluster.scheduler import Stage, Work, stages_left

SOFT_FACTOR = 3.0
"""A plan from formulas alone is within this factor of the truth. A pause as long as the whole stage is odd already."""
HARD_OVER_SOFT = 3.0
"""The hard deadline may end a run of days, so it lies well beyond the soft one."""

TOKEN_SECONDS = 120.0
"""Longest time to write one token: a step of the largest models takes seconds, a prefill of all requests more."""

Planned = Mapping[tuple[str, int, Stage], float]
"""Expected seconds of each (arm, generation, stage)."""


class Deadlines:
    """The deadlines of one run, in seconds since an actor's last progress."""

    def __init__(self, patience: float, planned: Planned | None = None, start: float = 0.0) -> None:
        """Set up deadlines for one run.

        Args:
            patience: Least soft deadline, in seconds.
            planned: Expected seconds of each stage.
            start: Expected seconds of loading the model.
        """
        self._patience = patience
        self._planned = planned or {}
        self._start = start
        self._longest: dict[Stage, float] = {}

    def measured(self, work: Work, seconds: float) -> None:
        """Take the measured duration of a stage into account, for later stages of its kind."""
        self._longest[work.stage] = max(seconds, self._longest.get(work.stage, 0.0))

    def expected(self, work: Work) -> float:
        """Return the seconds that the whole stage should take. It is 0 where nothing is known."""
        planned = self._planned.get((work.arm, work.generation, work.stage), 0.0)
        return max(planned, self._longest.get(work.stage, 0.0))

    def until_commit(self, work: Work, spent: float) -> float:
        """Return the expected seconds until the commit of a running stage's generation. Unknown stages count as 0.

        Args:
            spent: Seconds for which the stage has run.
        """
        stages = sum(self.expected(replace(work, stage=stage)) for stage in stages_left(work))
        return stages - min(spent, self.expected(work))

    def soft(self, work: Work) -> float:
        """Return the seconds of silence after which a stage's actor is examined."""
        return self._soft(self.expected(work))

    def hard(self, work: Work) -> float:
        """Return the seconds of silence after which a stage's actor counts as hung."""
        return HARD_OVER_SOFT * self.soft(work)

    @property
    def call(self) -> float:
        """Deadline in seconds of a call that reports no progress. Such a call at most moves or loads a model."""
        return HARD_OVER_SOFT * self._soft(self._start)

    @property
    def token(self) -> float:
        """Deadline in seconds of an engine that is asked for a token."""
        return min(TOKEN_SECONDS, self._patience)

    def _soft(self, expected: float) -> float:
        return max(self._patience, SOFT_FACTOR * expected)


def planned_stages(prediction: Mapping[str, Any] | None) -> tuple[dict[tuple[str, int, Stage], float], float]:
    """Return the planned seconds of each stage, and of the start, from a run's `plan.json`.

    Without a plan, or with one that lacks them, no stage is planned and the start takes 0.
    """
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
    except (KeyError, TypeError, ValueError):  # written by another version: patience and measurements remain
        return {}, 0.0
