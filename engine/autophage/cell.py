"""A cell: one sampler, one trainer, and what they have made so far of the generations their arms are at.

Starts stages on the two actors and takes their results. Everything older is read back from committed files, so going on
after a crash is the same code as going on at all. Does not know which stage is next (`scheduler`), what other cells do or
how a generation is committed (`driver`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autophage.cluster import Actors, fetch, latest_progress
from autophage.data.mix import needed_corpora
from autophage.errors import RunError, SwapError
from autophage.faultpoints import reach
from autophage.recipe.arms import Arm
from autophage.scheduler import Stage, Work
from autophage.store.answers import Answer
from autophage.store.commit import committed_optimizer, committed_samples, committed_weights
from autophage.store.manifest import Metric
from autophage.store.rundir import RunDirectory
from autophage.store.training import StepStatistics

STALL_SECONDS = 1800.0
"""A stage that shows no progress for this long is taken for hung. A single step of the largest models takes minutes."""


@dataclass
class Making:
    """What exists so far of the generation an arm is at."""

    weights: Any = None
    served: Any = None
    orders: Any = None
    """A reference to (requests, decoding): asked for while the trainer is free, used when sampling begins."""
    canary: float = 0.0
    answers: Any = None
    unfed: dict[int, list[int]] | None = None
    """Documents of this corpus that the next model's training, begun early, has not been handed yet; None without one."""
    samples: Any = None
    metrics: list[Metric] = field(default_factory=list)
    answered: list[Answer] = field(default_factory=list)
    steps: list[StepStatistics] = field(default_factory=list)
    optimizer: bytes | None = None
    speed: list[Metric] = field(default_factory=list)


@dataclass
class Running:
    """A stage in an actor's hands. `last` is when its progress last changed, for the stall deadline."""

    work: Work
    started: float
    last: float
    seen: Any = None


@dataclass(frozen=True)
class Finished:
    """A stage that has ended: how long it took, and the tokens it wrote or was trained on."""

    work: Work
    seconds: float
    tokens: int
    notes: Sequence[str] = ()
    """What its actor has to say to the user."""


@dataclass(frozen=True)
class Seen:
    """How far a running stage is."""

    work: Work
    done: int
    total: int
    tokens_per_second: float


class Cell:
    def __init__(
        self, actors: Actors, run: RunDirectory, arms: Mapping[str, Arm], cohorts: Sequence[Sequence[str]]
    ) -> None:
        self.name = actors.name
        self.running: dict[Any, Running] = {}
        self._actors, self._run, self._arms = actors, run, arms
        self._cohorts = cohorts
        self._making: dict[tuple[str, int], Making] = {}
        self._companions: dict[Work, list[Any]] = {}
        self._canary_prompts = self._get(actors.trainer.canary_prompts.remote(), actors.trainer_name)

    def start(self, works: Sequence[Work]) -> None:
        """Start these stages, none of which is a commit; those of stage SAMPLE make one batch."""
        now = time.monotonic()
        sampling = [work for work in works if work.stage is Stage.SAMPLE]
        begin = {Stage.TRAIN: self._train, Stage.SWAP: self._swap, Stage.MEASURE: self._measure}
        for work in works:
            reach("call", work)
            if work.stage is not Stage.SAMPLE:
                self.running[begin[work.stage](work)] = Running(work, now, now)
        if sampling:
            for work, reference in zip(sampling, self._sample(sampling), strict=True):
                self.running[reference] = Running(work, now, now)

    def finish(self, reference: Any) -> Finished:
        """Take the result of a stage that has ended.

        Raises:
            AutophageError: as raised in the actor; `ActorLostError` where it is gone.
        """
        running = self.running.pop(reference)
        work = running.work
        reach("finish", work)
        making = self._made(work)
        result = self._result(work, making, reference)
        reach("result", work)
        tokens = 0
        if work.stage is Stage.TRAIN:
            making.weights, tokens, making.steps = result.weights, result.tokens, result.steps
            making.optimizer = result.optimizer
        elif work.stage is Stage.SWAP:
            making.canary = result
            making.served = self._get(making.served, self._actors.sampler_name)
        elif work.stage is Stage.SAMPLE:
            making.answers = result
            tokens = sum(len(answer.token_ids) for answer in result)
            if making.unfed is not None:
                making.unfed = self._corpus_of(work, {place: one.token_ids for place, one in enumerate(result)})
                self._feed(making)
            for served in [making.served, *self._companions.pop(work, [])]:
                self._get(self._actors.sampler.remove.remote(served), self._actors.sampler_name)
        else:
            making.samples, making.metrics, making.answered = result
        seconds = time.monotonic() - running.started
        making.speed += _speed(work.stage, seconds, tokens)
        name, actor = self._side(work.stage)
        notes = self._get(actor.notes.options(concurrency_group="watch").remote(), name)
        return Finished(work, seconds, tokens, notes)

    def made(self, work: Work) -> Making:
        """What was made of the arm's generation, to be committed; forgotten here."""
        return self._making.pop((work.arm, work.generation))

    def _made(self, work: Work) -> Making:
        return self._making.setdefault((work.arm, work.generation), Making())

    def look(self) -> list[Seen]:
        """The running stages whose progress has changed since the last look.

        Raises:
            RunError: a stage has stopped moving.
        """
        now = time.monotonic()
        seen = []
        for running in self.running.values():
            work = running.work
            self._relay(work)
            name, actor = self._side(work.stage)
            progress = latest_progress(actor, _key(work), running.seen)
            if progress != running.seen:
                running.seen, running.last = progress, now
                if progress.total:
                    rate = progress.tokens / max(now - running.started, 1e-9)
                    seen.append(Seen(work, progress.done, progress.total, round(rate, 1)))
            elif now - running.last > STALL_SECONDS:
                raise RunError(
                    f"the {name} made no progress for {STALL_SECONDS:.0f} s in stage {work.stage.value} of "
                    f"{work.arm}, generation {work.generation}, and was given up. Its log: {self._log(name)}"
                )
        return seen

    def _train(self, work: Work) -> Any:
        arm = self._arms[work.arm].recipe
        before = self._making.get((work.arm, work.generation - 1))
        needed = [one for one in needed_corpora(arm, work.generation) if before is None or one < work.generation - 1]
        corpora = {generation: committed_samples(self._run, work.arm, generation) for generation in needed}
        start = optimizer = None
        if before is not None:
            before.unfed = {}
            start, optimizer = before.weights, before.optimizer
        elif arm.train.chain == "cumulative":
            start = committed_weights(self._run, work.arm, work.generation - 1)
            if arm.train.optimizer == "carried":
                optimizer = committed_optimizer(self._run, work.arm, work.generation - 1)
        start = start if arm.train.chain == "cumulative" else None
        fit = self._actors.trainer.fit
        return fit.remote(work.arm, work.generation, start, corpora, optimizer, early=before is not None)

    def _relay(self, work: Work) -> None:
        """Where the next model's training began early, hand it what has been written meanwhile."""
        making = self._making.get((work.arm, work.generation))
        if making is None or making.unfed is None:
            return
        if work.stage is Stage.SAMPLE:
            watch = self._actors.sampler.written.options(concurrency_group="watch")
            making.unfed = self._corpus_of(work, self._get(watch.remote(_key(work)), self._actors.sampler_name))
        self._feed(making)

    def _corpus_of(self, work: Work, written: Mapping[int, list[int]]) -> dict[int, list[int]]:
        """Of what is written for an arm, by place, the documents of its corpus: they come before answers to questions."""
        count = self._arms[work.arm].recipe.sample.count
        return {place: token_ids for place, token_ids in written.items() if place < count}

    def _feed(self, making: Making) -> None:
        if making.unfed:
            watch = self._actors.trainer.feed.options(concurrency_group="watch")
            if self._get(watch.remote(making.unfed), self._actors.trainer_name):
                making.unfed = {}

    def _swap(self, work: Work) -> Any:
        """Install, ask the canary, compare: a chain that the actors walk without the driver."""
        making = self._made(work)
        trainer, sampler = self._actors.trainer, self._actors.sampler
        if work.generation == 0:
            making.weights = self._get(trainer.base_weights.remote(work.arm), self._actors.trainer_name)
        making.served = sampler.install.remote(_key(work), making.weights)
        making.orders = trainer.orders.remote(work.arm, work.generation)
        answers = sampler.canary.remote(making.served, self._canary_prompts)
        return trainer.check_canary.remote(making.weights, answers)

    def _sample(self, works: Sequence[Work]) -> list[Any]:
        """One call for the batch: its works, and the arms of their cohort that are further already.

        Those are sampled again as they were, and dropped: after a restart the batch must be the one that it would have
        been, or its last bits would differ.
        """
        members = next((cohort for cohort in self._cohorts if works[0].arm in cohort), [work.arm for work in works])
        own = {work.arm: self._made(work) for work in works}
        jobs = []
        for arm in members:
            if arm in own:
                jobs.append((f"{arm}@{works[0].generation}", own[arm].served, own[arm].orders))
            else:
                jobs.append(self._companion(arm, works[0]))
        call = self._actors.sampler.sample.options(num_returns=len(jobs), concurrency_group="sample")
        keys, served, orders = zip(*jobs, strict=True)
        references = call.remote(list(keys), list(served), *orders)
        references = [references] if len(jobs) == 1 else references
        return [references[keys.index(_key(work))] for work in works]

    def _companion(self, arm: str, beside: Work) -> tuple[str, Any, Any]:
        key = f"{arm}@{beside.generation}"
        weights = committed_weights(self._run, arm, beside.generation)
        served = self._get(self._actors.sampler.install.remote(key, weights), self._actors.sampler_name)
        self._companions.setdefault(beside, []).append(served)
        return key, served, self._actors.trainer.orders.remote(arm, beside.generation)

    def _measure(self, work: Work) -> Any:
        making = self._made(work)
        previous = committed_weights(self._run, work.arm, work.generation - 1) if work.generation else None
        return self._actors.trainer.measure.remote(work.arm, work.generation, making.weights, previous, making.answers)

    def _result(self, work: Work, making: Making, reference: Any) -> Any:
        try:
            return self._get(reference, self._side(work.stage)[0])
        except SwapError:
            self._roll_back(making)
            raise

    def _roll_back(self, making: Making) -> None:
        """Let go of an adapter that was installed and is not what it should be; one that was refused is not there."""
        try:
            served = self._get(making.served, self._actors.sampler_name)
        except SwapError:
            return
        self._get(self._actors.sampler.remove.remote(served), self._actors.sampler_name)

    def _side(self, stage: Stage) -> tuple[str, Any]:
        if stage is Stage.SAMPLE:
            return self._actors.sampler_name, self._actors.sampler
        return self._actors.trainer_name, self._actors.trainer

    def _get(self, reference: Any, who: str) -> Any:
        return fetch(reference, who, self._log(who))

    def _log(self, who: str) -> Path:
        return self._run.logs / f"{who}.log"


def _key(work: Work) -> str:
    return f"{work.arm}@{work.generation}"


def _speed(stage: Stage, seconds: float, tokens: int) -> list[Metric]:
    metrics = [Metric(f"speed/{stage.value}_seconds", seconds)]
    if tokens:
        metrics.append(Metric(f"speed/{stage.value}_tokens_per_second", tokens / seconds))
    return metrics
