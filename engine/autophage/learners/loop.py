"""The loop of learners, with the words, store and events of a language-model run, in one process.

    for each generation g, for each arm:
        train    model g on rows g-1, mixed with human rows      (model 0: on human rows alone)
        sample   rows g of it
        measure  model and rows
        commit   all of it, atomically

A stopped arm continues from its last commit. Every choice is seeded by its purpose, so a resumed run ends with the
bytes of an uninterrupted one.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from safetensors import numpy as safetensors
from threadpoolctl import threadpool_limits

from autophage.data.mix import human_draw, needed_corpora, original_draw, pooled, synthetic_count
from autophage.errors import RunError
from autophage.host.versions import versions
from autophage.learners.build import learner_of
from autophage.learners.protocol import Learner, Parameters
from autophage.progress import Meter, Progress
from autophage.recipe import LoadedRecipe
from autophage.recipe.arms import Arm
from autophage.recipe.batching import resume_level
from autophage.seeds import derive
from autophage.store.commit import Generation, commit_generation, committed_weights
from autophage.store.corpus import sample_id
from autophage.store.manifest import Manifest, Metric, committed, true_shards
from autophage.store.metrics_table import write_metrics_table
from autophage.store.rundir import Emit, RunDirectory
from autophage.store.weights import Weights

TABLE_SECONDS = 10.0
"""Minimum seconds between two writes of the metrics table.

A write reads every generation, of which there may be thousands.
"""
TOLD_SECONDS = 0.5
"""Minimum seconds of a stage that is shown to users. A Gaussian's stages take milliseconds."""


@dataclass
class Chain:
    """State of one arm in memory: its learner, its models, and the rows that the next fit needs.

    Attributes:
        base: Parameters of model 0. Empty before the first fit.
        model: Parameters of the newest model. Empty before the first fit.
        rows: Map from generation to the rows that its model drew.
    """

    arm: Arm
    learner: Learner[Any]
    base: Parameters = field(default_factory=dict)
    model: Parameters = field(default_factory=dict)
    rows: dict[int, list[Any]] = field(default_factory=dict)


class Chains:
    """All arms of a run with a learner. Construction reads the human data before any file is written.

    Raises:
        UserError: A source cannot be read.
    """

    def __init__(self, loaded: LoadedRecipe) -> None:
        self._recipe = loaded.recipe
        self._chains = [Chain(arm, learner_of(arm.recipe)) for arm in loaded.arms]
        self._names = [arm.name for arm in loaded.arms]

    def drive(self, run: RunDirectory, emit: Emit) -> None:
        """Compute every generation that is missing from the run's directory, and commit each. `emit` gets events."""
        done = {name: committed(run, name) for name in self._names}
        for chain in self._chains:
            _resume(run, chain, done[chain.arm.name])
        # Arrays are small, so threads would only wait. Their number would also change the last bits of sums.
        with threadpool_limits(1):
            self._generations(run, {name: len(manifests) for name, manifests in done.items()}, emit)
        write_metrics_table(run, self._names)

    def _generations(self, run: RunDirectory, done: dict[str, int], emit: Emit) -> None:
        written, made_with = time.monotonic(), versions()
        for generation in range(self._recipe.generations + 1):
            for chain in self._chains:
                if generation >= done[chain.arm.name]:
                    _make(run, chain, generation, made_with, emit)
            if time.monotonic() - written > TABLE_SECONDS:
                write_metrics_table(run, self._names)
                written = time.monotonic()

    def facts(self) -> dict[str, Any]:
        """Return the learner's kind and device and a hash of its human data, for the record of a run.

        Keys are those of `stages.facts.model_facts`. Facts that a learner lacks are None.
        """
        digests = {chain.learner.digest: None for chain in self._chains}
        return {
            "path": self._recipe.learner.kind,
            "kind": "learner",
            "digest": None,
            "revision": None,
            "source": hashlib.sha256("\n".join(digests).encode()).hexdigest(),
            "device": self._chains[0].learner.device,
        }


def _resume(run: RunDirectory, chain: Chain, done: list[Manifest]) -> None:
    """Restore the models and rows of `chain` from its arm's commits, `done`. Without commits it stays empty."""
    if not done:
        return
    name, last = chain.arm.name, len(done) - 1
    chain.base, chain.model = _state(run, name, 0), _state(run, name, last)
    if last < chain.arm.recipe.generations:
        needed = needed_corpora(chain.arm.recipe, last + 1)
        chain.rows = {generation: chain.learner.unpack(true_shards(run, done[generation])) for generation in needed}


def _state(run: RunDirectory, arm: str, generation: int) -> Parameters:
    return safetensors.load(committed_weights(run, arm, generation).tensors)


def _make(run: RunDirectory, chain: Chain, generation: int, made_with: dict[str, str], emit: Emit) -> None:
    """Fit, draw, measure and commit one generation of one arm. `chain` moves on to the new model.

    Raises:
        RunError: A metric is not finite. Nothing is committed then.
    """
    arm, learner = chain.arm, chain.learner
    recipe, place = arm.recipe, {"arm": arm.name, "generation": generation}
    with _stage(emit, "train", place) as meter:
        seed = derive(recipe.seed, "train", arm.name, generation) if generation else derive(recipe.seed, "base")
        state = learner.fit(_training_rows(chain, generation), seed, chain.model or None, meter)
    drawing = derive(recipe.seed, "sample", arm.name, generation)
    with _stage(emit, "sample", place):
        rows = learner.draw(state, recipe.sample.count, drawing)
    base = chain.base or state
    with _stage(emit, "measure", place):
        metrics = learner.measure(generation, state, base, rows, derive(recipe.seed, "bootstrap", arm.name, generation))
        _require_finite(arm.name, generation, metrics)
    with _stage(emit, "commit", place):
        made = _generation(chain, generation, state, rows, drawing, metrics)
        level = resume_level("cpu" if learner.device == "cpu" else "cuda")
        commit_generation(run, made, level=level, versions=made_with, arms=None)
    emit("commit", **place, metrics={one.metric: one.value for one in metrics if one.metric.count(".") < 2})
    chain.base, chain.model = base, state
    if recipe.mix.pool == "replace":
        chain.rows.clear()
    chain.rows[generation] = rows


def _training_rows(chain: Chain, generation: int) -> list[Any]:
    """Return the rows that model `generation` is fitted to. Model 0 gets human rows, later models the recipe's pool."""
    recipe, learner = chain.arm.recipe, chain.learner

    def original() -> list[Any]:
        return learner.human(original_draw(recipe), recipe.sample.count)

    def mixed(of: int) -> list[Any]:
        synthetic = synthetic_count(recipe, of)
        human = recipe.sample.count - synthetic
        return chain.rows[of][:synthetic] + (learner.human(human_draw(recipe, of), human) if human else [])

    return pooled(recipe, generation - 1, original, mixed) if generation else original()


def _generation(
    chain: Chain, generation: int, state: Parameters, rows: list[Any], seed: int, metrics: list[Metric]
) -> Generation:
    arm, learner = chain.arm, chain.learner
    ids = [sample_id(arm.recipe.seed, arm.name, generation, index, (), seed) for index in range(len(rows))]
    tensors = safetensors.save({name: np.ascontiguousarray(part) for name, part in state.items()})
    return Generation(
        arm=arm.name,
        generation=generation,
        weights=Weights(tensors, learner.config, "small"),
        served_as=None,
        samples=learner.pack(state, rows, ids, seed),
        metrics=metrics,
        canary=None,
        seed=arm.recipe.seed,
    )


def _require_finite(arm: str, generation: int, metrics: list[Metric]) -> None:
    if broken := [one.metric for one in metrics if not math.isfinite(one.value)]:
        raise RunError(f"{arm}, generation {generation}: {', '.join(broken)} is not finite; nothing was committed")


@contextmanager
def _stage(emit: Emit, name: str, place: dict[str, Any]) -> Iterator[Meter]:
    """Emit the start and the end of the stage that is the body of a `with` statement. Yield a meter of its progress.

    The end carries the seconds that the stage took.
    """
    began = told = time.monotonic()
    emit("stage-start", **place, stage=name)

    def show(now: Progress) -> None:
        nonlocal told
        moment = time.monotonic()
        if moment - told >= TOLD_SECONDS:
            emit("stage-progress", **place, stage=name, done=now.done, total=now.total, tokens_per_second=0.0)
            told = moment

    yield Meter(show)
    seconds = time.monotonic() - began
    brief = {} if seconds >= TOLD_SECONDS else {"brief": True}
    emit("stage-end", **place, stage=name, seconds=round(seconds, 3), tokens=0, **brief)
