"""Watches the running stages of a cell: their progress, and whether one hangs.

Silence is judged twice. After the soft deadline a sampler's engine is asked for a token. Documents that end together
may report no progress for hours. After the hard deadline the stage counts as hung (`deadlines`).
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass

from autophage.cluster.calls import Actor
from autophage.cluster.cell_actors import CellActors
from autophage.cluster.partial import PartialGenerations
from autophage.cluster.scheduler import Side, Stage, Work
from autophage.progress import Progress


@dataclass
class Running:
    """A stage that runs on an actor. Times are of the monotonic clock, in seconds."""

    work: Work
    started: float
    last: float
    """Time of the last sign of progress."""
    seen: Progress | None = None
    """Progress at the last look; None before the first."""
    proved: bool = False
    """True once the silent engine was asked for a token and wrote none."""


@dataclass(frozen=True)
class Seen:
    """Progress of a running stage: `done` of `total` units."""

    work: Work
    done: int
    total: int
    tokens_per_second: float


class Watchdog:
    """Watch the stages of a cell for progress and silence."""

    def __init__(self, actors: CellActors, partials: PartialGenerations) -> None:
        self._actors, self._partials = actors, partials
        self._deadlines = actors.deadlines

    def look(self, running: Running, others: Collection[Work]) -> Seen | None:
        """Return the progress of a stage if it has changed since the last look, else None.

        Args:
            others: The stages that run in this cell.

        Raises:
            HungError: The stage has stopped moving, or its engine does not answer.
        """
        now, work = time.monotonic(), running.work
        progress = self._actors.of(self._actors.side_at(work)).latest_progress(work.key, running.seen)
        if progress is not None and progress != running.seen:
            running.seen, running.last, running.proved = progress, now, False
            if progress.total:
                rate = progress.tokens / max(now - running.started, 1e-9)
                return Seen(work, progress.done, progress.total, round(rate, 1))
        elif waits(work, others):
            running.last = now
        else:
            self._judge(running, now - running.last)
        return None

    def _judge(self, running: Running, silent: float) -> None:
        """Kill an actor whose stage was silent for too many seconds.

        Before that, ask a sampler's engine for a token.
        """
        work = running.work
        if silent > self._deadlines.hard(work):
            raise self._culprit(work).hung(f"made no progress for {silent:.0f} s in {work}")
        if work.stage is Stage.SAMPLE and silent > self._deadlines.soft(work) and not running.proved:
            seconds = self._deadlines.token
            probe = self._actors.sampler.prove(seconds / 2)
            writes = self._actors.get(probe, Side.SAMPLER, seconds, f"wrote no token in {work}")
            if writes:
                running.last = time.monotonic()
            running.proved = not writes

    def _culprit(self, work: Work) -> Actor:
        """Return the actor that a silent stage waits for. A swap passes through the sampler first."""
        import ray

        if work.stage is Stage.SWAP:
            partial = self._partials.find(work)
            if partial and partial.installation and not ray.wait([partial.installation.canary], timeout=0)[0]:
                return self._actors.of(Side.SAMPLER)
        return self._actors.of(self._actors.side_at(work))


def waits(work: Work, running: Collection[Work]) -> bool:
    """Return True if a stage may be silent because a batch of the sampler's comes first.

    A training that began early waits for its corpus. A swap may need the batch before to end.
    """
    sampling = [one for one in running if one.stage is Stage.SAMPLE]
    corpus = Work(work.arm, work.generation - 1, Stage.SAMPLE)
    return (work.stage is Stage.TRAIN and corpus in sampling) or (work.stage is Stage.SWAP and bool(sampling))
