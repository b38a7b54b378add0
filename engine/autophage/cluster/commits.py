"""Commits the finished generations of a run, each atomically. The driver's process is the only one that writes the run."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from autophage.cluster.partial import PartialGeneration, ended
from autophage.cluster.scheduler import Work
from autophage.host.versions import versions
from autophage.plan.disk import require_room
from autophage.recipe.arms import Arm
from autophage.stages.retained import ignorance, with_retention
from autophage.store.commit import commit_generation
from autophage.store.fault_points import reach
from autophage.store.manifest import committed
from autophage.store.rundir import Emit, RunDirectory
from autophage.store.weights import Weights


class Committer:
    """Write finished generations into the run directory."""

    def __init__(self, run: RunDirectory, arms: Mapping[str, Arm], level: str, emit: Emit) -> None:
        """`level` is the resume level that manifests declare (`recipe.batching.resume_level`)."""
        self._run, self._arms, self._level, self._emit = run, arms, level, emit

    def counts(self) -> dict[str, int]:
        """Return the number of committed generations of each arm."""
        return {arm: len(committed(self._run, arm)) for arm in self._arms}

    def require_room(self, works: Iterable[Work]) -> None:
        """Refuse stages whose files do not fit on the disk.

        Raises:
            UserError: `plan.disk.require_room` has the conditions.
        """
        works = list(works)
        for generation, stage in dict.fromkeys((work.generation, work.stage) for work in works):
            arms = [self._arms[work.arm] for work in works if (work.generation, work.stage) == (generation, stage)]
            require_room(self._run, arms, generation, stage.value)

    def commit(
        self,
        work: Work,
        partial: PartialGeneration,
        weights: Weights,
        optimizer: bytes | None,
        names: Mapping[str, str | int],
    ) -> float:
        """Commit a finished generation to the run directory, and report it as an event.

        Args:
            weights: The weights that `partial` refers to.
            optimizer: The optimizer state that `partial` refers to.
            names: Fields that identify the stage in events.

        Returns:
            The seconds that the commit took.
        """
        began = time.monotonic()
        reach("commit", work)
        made = partial.as_generation(work, self._arms[work.arm].recipe.seed, weights, optimizer)
        generation = with_retention(self._run, made)
        commit_generation(self._run, generation, level=self._level, versions=versions(), arms=list(self._arms))
        reach("committed", work)
        seconds = time.monotonic() - began
        self._emit("stage-end", **names, seconds=round(seconds, 3), tokens=0)
        measured = [*ended(partial.measured).metrics, *generation.metrics[len(made.metrics) :]]
        headline = {metric.metric: metric.value for metric in measured if metric.metric.count(".") < 2}
        if note := ignorance(generation):
            self._emit("note", text=note)
        self._emit("commit", arm=work.arm, generation=work.generation, metrics=headline)
        return seconds
