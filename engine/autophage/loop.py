# ruff: noqa: E402 -- torch and vLLM read the environment when they are imported
"""Train a model on its own output, generation after generation, in one process.

    for each generation g:
        for each arm of a batch:
            train    model g on corpus g-1 mixed with human text          (model 0 is the base model)
            swap     its weights into the running sampler, and check them
        sample       corpus g of all these arms, in one batch
        for each arm of the batch:
            measure  model g and corpus g
            commit   everything, atomically

No Ray, no overlap, no resuming. The engine runs the same stages in other processes and in another order.
Tests hold its corpora and metrics equal to this file's. Run it: `python -m autophage.loop smoke --out runs/loop`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from autophage.host import environment

environment.apply()
if __name__ == "__main__":
    environment.alone()

from autophage.data.build import read_source
from autophage.errors import UserError
from autophage.host.devices import device
from autophage.host.versions import versions
from autophage.live.progress import progress_bar
from autophage.progress import Meter
from autophage.recipe import load_recipe
from autophage.recipe.arms import Arm
from autophage.recipe.batching import cohorts_of, resume_level
from autophage.runs.directory import begin_run
from autophage.sampler.protocol import Completion, Job
from autophage.stages.beam import AnySampler, sampler_for
from autophage.stages.facts import model_path
from autophage.stages.retained import with_retention
from autophage.stages.workbench import Workbench
from autophage.store.canary import CanaryRecord
from autophage.store.commit import Generation, commit_generation
from autophage.store.corpus import Sample
from autophage.store.messages import Trained
from autophage.store.rundir import RunDirectory
from autophage.store.weights import Weights


@dataclass
class Lineage:
    """One arm: its newest model, the weights before it, and every corpus so far."""

    arm: Arm
    model: Trained
    previous: Weights | None = None
    corpora: dict[int, list[Sample]] = field(default_factory=dict)
    canary: CanaryRecord | None = None


def run_loop(recipe_name: str, out: Path, overrides: Sequence[str] = ()) -> None:
    """Run every arm of a recipe into `out`, which must not hold a run yet."""
    loaded = load_recipe(recipe_name, list(overrides))
    if not loaded.recipe.trains_language_model:
        raise UserError(f"{recipe_name}: its loop is learners/loop.py. Give it to `autophage run`.")
    source = read_source(loaded.recipe)
    run = begin_run(loaded, RunDirectory(out))
    with progress_bar("base model", "tokens") as meter:
        path = model_path(loaded.recipe, source, meter)
    bench = Workbench(loaded.recipe, source, path, inspection=run.logs)
    sampler = sampler_for(bench.engine_settings(loaded.arms))
    lineages = {arm.name: Lineage(arm, Trained(bench.base_weights(arm), 0, [])) for arm in loaded.arms}

    for generation in range(loaded.recipe.generations + 1):
        for cohort in cohorts_of(loaded.arms):
            begun, together = time.perf_counter(), [lineages[name] for name in cohort]
            jobs = [train_and_swap(bench, sampler, lineage, generation) for lineage in together]
            for lineage, job, completions in zip(together, jobs, sampler.sample(jobs, lambda *_: None), strict=True):
                sampler.remove(job.served)
                made = measure(bench, lineage, generation, completions, job.served.name)
                level = resume_level(device().type)
                commit_generation(run, with_retention(run, made), level=level, versions=versions(), arms=list(lineages))
                print(f"{made.arm:>12}  generation {generation}  ({time.perf_counter() - begun:.1f} s)", flush=True)


def train_and_swap(bench: Workbench, sampler: AnySampler, lineage: Lineage, generation: int) -> Job:
    """Make model `generation` of an arm and put it into the sampler. Returns the request for its corpus."""
    arm, before = lineage.arm, lineage.model
    if generation > 0:
        start = before.weights if arm.recipe.train.chain == "cumulative" else bench.base_weights(arm)
        lineage.model = bench.fit(arm, generation, start, lineage.corpora, Meter(), before.optimizer)
        lineage.previous = before.weights
    served = sampler.install(f"{arm.name}@{generation}", lineage.model.weights)
    answers = sampler.canary(served, bench.canary_prompts)
    lineage.canary = bench.check_canary(lineage.model.weights, answers, lineage.previous)
    return Job(served, bench.requests(arm, generation), bench.decoding(arm))


def measure(
    bench: Workbench, lineage: Lineage, generation: int, completions: Sequence[Completion], served_as: str
) -> Generation:
    """Measure an arm's newest model and the corpus that it wrote. Returns the generation to commit."""
    arm, model = lineage.arm, lineage.model
    measured = bench.measure(arm, generation, model.weights, lineage.previous, completions, Meter())
    lineage.corpora[generation] = measured.samples
    return Generation(
        arm=arm.name, generation=generation, weights=model.weights, served_as=served_as, samples=measured.samples,
        metrics=[*measured.metrics, *model.metrics], canary=lineage.canary, seed=arm.recipe.seed, steps=model.steps,
        optimizer=model.optimizer, answers=measured.answers,
    )  # fmt: skip


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[2] != "--out":
        sys.exit("usage: python -m autophage.loop RECIPE --out DIR, such as: smoke --out runs/loop")
    run_loop(sys.argv[1], Path(sys.argv[3]))
