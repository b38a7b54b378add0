"""Carries out what the scheduler decides: starts stages on the actors, hands results on, commits.

Holds what has been made of each arm's generation so far and nothing else; everything older is read back from committed
files, so going on after a crash is the same code as going on at all.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from autophage.cluster import fetch, latest_progress
from autophage.data.mix import needed_corpora
from autophage.errors import RunError, SwapError
from autophage.provenance import resume_level, versions
from autophage.recipe import LoadedRecipe
from autophage.scheduler import Done, Stage, State, Work, begin, step
from autophage.store.commit import (
    Generation,
    commit_generation,
    committed_optimizer,
    committed_samples,
    committed_weights,
)
from autophage.store.manifest import Metric
from autophage.store.rundir import RunDirectory
from autophage.store.training import StepStatistics

POLL_SECONDS = 0.25
STALL_SECONDS = 1800.0
"""A stage that shows no progress for this long is taken for hung. A single step of the largest models takes minutes."""

Emit = Callable[..., None]


@dataclass
class Making:
    """What exists so far of the generation an arm is at."""

    weights: Any = None
    served: Any = None
    orders: Any = None
    canary: float = 0.0
    answers: Any = None
    samples: Any = None
    metrics: list[Metric] = field(default_factory=list)
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


class Driver:
    def __init__(
        self, loaded: LoadedRecipe, run: RunDirectory, trainer: Any, sampler: Any, emit: Emit, *, device: str
    ) -> None:
        self._recipe = loaded.recipe
        self._arms = {arm.name: arm for arm in loaded.arms}
        self._run = run
        self._trainer, self._sampler = trainer, sampler
        self._emit = emit
        self._level = resume_level(device)
        self._making: dict[str, Making] = {}
        self._running: dict[Any, Running] = {}
        self._canary_prompts = self._get(trainer.canary_prompts.remote(), "trainer")

    def drive(self, committed: dict[str, int]) -> None:
        """Make every generation that is not committed yet."""
        serial = self._recipe.devices == "serial"
        state, todo = begin(list(self._arms), committed, self._recipe.generations, serial=serial)
        while todo or not state.finished:
            for work in todo:
                self._begin(work)
            state, todo = self._advance(state)

    def _advance(self, state: State) -> tuple[State, list[Work]]:
        """Wait until something is finished or it is time to look at progress; commits are finished when begun."""
        import ray

        commits = [work for work in state.running if work.stage is Stage.COMMIT]
        if commits:
            return step(state, Done(commits[0]))
        ready, _ = ray.wait(list(self._running), timeout=POLL_SECONDS)
        if not ready:
            self._look()
            return state, []
        running = self._running.pop(ready[0])
        self._finish(running, ready[0])
        return step(state, Done(running.work))

    def _begin(self, work: Work) -> None:
        self._emit("stage-start", **_names(work))
        if work.stage is Stage.COMMIT:
            self._commit(work)
            return
        now = time.monotonic()
        start = {
            Stage.TRAIN: self._begin_train,
            Stage.SWAP: self._begin_swap,
            Stage.SAMPLE: self._begin_sample,
            Stage.MEASURE: self._begin_measure,
        }[work.stage]
        self._running[start(work)] = Running(work, now, now)

    def _begin_train(self, work: Work) -> Any:
        arm = self._arms[work.arm].recipe
        start = committed_weights(self._run, work.arm, work.generation - 1) if arm.train.chain == "cumulative" else None
        corpora = {
            generation: committed_samples(self._run, work.arm, generation)
            for generation in needed_corpora(arm, work.generation)
        }
        carried = arm.train.optimizer == "carried"
        optimizer = committed_optimizer(self._run, work.arm, work.generation - 1) if carried else None
        return self._trainer.fit.remote(work.arm, work.generation, start, corpora, optimizer)

    def _begin_swap(self, work: Work) -> Any:
        making = self._making.setdefault(work.arm, Making())
        if work.generation == 0:
            making.weights = self._get(self._trainer.base_weights.remote(work.arm), "trainer")
        making.served = self._get(
            self._sampler.install.remote(f"{work.arm}@{work.generation}", making.weights), "sampler"
        )
        # Asked for now, while the trainer is free: when sampling begins it may be busy with another arm.
        making.orders = self._trainer.orders.remote(work.arm, work.generation)
        answers = self._get(self._sampler.canary.remote(making.served, self._canary_prompts), "sampler")
        return self._trainer.check_canary.remote(making.weights, answers)

    def _begin_sample(self, work: Work) -> Any:
        making = self._making[work.arm]
        return self._sampler.sample.remote(making.served, making.orders)

    def _begin_measure(self, work: Work) -> Any:
        making = self._making[work.arm]
        previous = committed_weights(self._run, work.arm, work.generation - 1) if work.generation else None
        return self._trainer.measure.remote(work.arm, work.generation, making.weights, previous, making.answers)

    def _finish(self, running: Running, reference: Any) -> None:
        work, making = running.work, self._making.setdefault(running.work.arm, Making())
        try:
            result = self._get(reference, "sampler" if work.stage is Stage.SAMPLE else "trainer")
        except SwapError:
            self._get(self._sampler.remove.remote(making.served), "sampler")
            raise
        tokens = 0
        if work.stage is Stage.TRAIN:
            making.weights, tokens, making.steps = result.weights, result.tokens, result.steps
            making.optimizer = result.optimizer
        elif work.stage is Stage.SWAP:
            making.canary = result
        elif work.stage is Stage.SAMPLE:
            making.answers = result
            tokens = sum(len(answer.token_ids) for answer in result)
            self._get(self._sampler.remove.remote(making.served), "sampler")
        else:
            making.samples, making.metrics = result
        seconds = time.monotonic() - running.started
        making.speed += _speed(work.stage, seconds, tokens)
        self._emit("stage-end", **_names(work), seconds=round(seconds, 3), tokens=tokens)

    def _commit(self, work: Work) -> None:
        began = time.monotonic()
        made = self._making.pop(work.arm)
        generation = Generation(
            arm=work.arm,
            generation=work.generation,
            weights=made.weights,
            served_as=made.served.name,
            samples=made.samples,
            metrics=made.metrics + made.speed,
            canary=made.canary,
            seed=self._arms[work.arm].recipe.seed,
            steps=made.steps,
            optimizer=made.optimizer,
        )
        commit_generation(self._run, generation, level=self._level, versions=versions(), arms=list(self._arms))
        self._emit("stage-end", **_names(work), seconds=round(time.monotonic() - began, 3), tokens=0)
        headline = {metric.metric: metric.value for metric in made.metrics if metric.metric.count(".") < 2}
        self._emit("commit", arm=work.arm, generation=work.generation, metrics=headline)

    def _look(self) -> None:
        """Tell how far the running stages are, and end the run when one has stopped moving."""
        now = time.monotonic()
        for reference, running in list(self._running.items()):
            side, actor = (
                ("sampler", self._sampler) if running.work.stage is Stage.SAMPLE else ("trainer", self._trainer)
            )
            progress = latest_progress(actor, running.seen)
            if progress != running.seen:
                running.seen, running.last = progress, now
                if progress.total:
                    rate = progress.tokens / max(now - running.started, 1e-9)
                    self._emit(
                        "stage-progress",
                        **_names(running.work),
                        done=progress.done,
                        total=progress.total,
                        tokens_per_second=round(rate, 1),
                    )
            elif now - running.last > STALL_SECONDS:
                raise RunError(
                    f"the {side} made no progress for {STALL_SECONDS:.0f} s in stage {running.work.stage.value} of "
                    f"{running.work.arm}, generation {running.work.generation}; {reference} was given up. "
                    f"Its log: {self._run.logs / (side + '.log')}"
                )

    def _get(self, reference: Any, who: str) -> Any:
        return fetch(reference, who, self._run.logs)


def _names(work: Work) -> dict[str, Any]:
    return {"arm": work.arm, "generation": work.generation, "stage": work.stage.value}


def _speed(stage: Stage, seconds: float, tokens: int) -> list[Metric]:
    metrics = [Metric(f"speed/{stage.value}_seconds", seconds)]
    if tokens:
        metrics.append(Metric(f"speed/{stage.value}_tokens_per_second", tokens / seconds))
    return metrics
