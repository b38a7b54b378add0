"""The whole idea in one process: a model is trained on what it wrote, generation after generation.

    for each generation g:
        for the arms that share a batch:
            train    model g on corpus g-1, mixed with human text          (model 0 is the base model)
            swap     its weights into the running sampler, and check it
        sample   corpus g of all of them, in one batch
        for each of them:
            measure  model g and corpus g
            commit   all of it, atomically

No Ray, no overlap, no resuming. The distributed engine runs the same stages elsewhere and in another order; the tests
hold its corpora and metrics equal to this file's. Run it: `python -m autophage.loop smoke --out runs/loop`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from autophage.host import environment
from autophage.progress import Meter, Progress

if TYPE_CHECKING:
    from autophage.recipe.arms import Arm
    from autophage.sampler.protocol import Completion, Job, Served
    from autophage.stages.beam import AnySampler
    from autophage.stages.workbench import Workbench
    from autophage.store.commit import Generation
    from autophage.store.corpus import Sample
    from autophage.store.manifest import Metric
    from autophage.store.training import StepStatistics
    from autophage.store.weights import Weights


@dataclass
class Lineage:
    """One arm's newest model, the one before it, and every corpus so far."""

    arm: Arm
    weights: Weights
    previous: Weights | None = None
    corpora: dict[int, list[Sample]] = field(default_factory=dict)
    steps: list[StepStatistics] = field(default_factory=list)
    optimizer: bytes | None = None
    trained: list[Metric] = field(default_factory=list)
    served: Served | None = None
    canary: float = 0.0


def run_loop(recipe_name: str, out: Path, overrides: list[str] | None = None) -> None:
    """Run every arm of a recipe into `out`, which must not hold a run yet."""
    environment.apply()
    from autophage.data.build import read_source
    from autophage.errors import UserError
    from autophage.host.devices import device
    from autophage.host.versions import versions
    from autophage.recipe import load_recipe
    from autophage.recipe.batching import cohorts_of, resume_level
    from autophage.runs.directory import begin_run
    from autophage.stages.beam import sampler_for
    from autophage.stages.facts import model_path
    from autophage.stages.workbench import Workbench
    from autophage.store.commit import commit_generation
    from autophage.store.rundir import RunDirectory

    loaded = load_recipe(recipe_name, overrides or [])
    if not loaded.recipe.trains_language_model:
        raise UserError(f"{recipe_name}: its loop is learners/loop.py. Give it to `autophage run`.")
    source = read_source(loaded.recipe)
    run = begin_run(loaded, RunDirectory(out))

    bench = Workbench(loaded.recipe, source, model_path(loaded.recipe, source, Meter(_print_base)), inspection=run.logs)
    sampler = sampler_for(bench.engine_settings(loaded.arms))
    lineages = {arm.name: Lineage(arm, bench.base_weights(arm)) for arm in loaded.arms}

    for generation in range(loaded.recipe.generations + 1):
        for cohort in cohorts_of(loaded.arms):
            begun = time.perf_counter()
            together = [lineages[name] for name in cohort]
            jobs = [_train_and_swap(bench, sampler, lineage, generation) for lineage in together]
            corpora = sampler.sample(jobs, _unwatched)
            for lineage, job, answers in zip(together, jobs, corpora, strict=True):
                sampler.remove(job.served)
                made = _measure(bench, lineage, generation, answers)
                level, names = resume_level(device().type), list(lineages)
                commit_generation(run, made, level=level, versions=versions(), arms=names)
                _print_generation(made.arm, generation, made.metrics, time.perf_counter() - begun)


def _train_and_swap(bench: Workbench, sampler: AnySampler, lineage: Lineage, generation: int) -> Job:
    """Make model `generation` of an arm and put it into the sampler; returns what the sampler is asked for."""
    from autophage.sampler.protocol import Job

    arm = lineage.arm
    if generation > 0:
        start = lineage.weights if arm.recipe.train.chain == "cumulative" else bench.base_weights(arm)
        trained = bench.fit(arm, generation, start, lineage.corpora, Meter(), lineage.optimizer)
        lineage.previous, lineage.weights = lineage.weights, trained.weights
        lineage.steps, lineage.optimizer, lineage.trained = trained.steps, trained.optimizer, trained.metrics
    lineage.served = sampler.install(f"{arm.name}@{generation}", lineage.weights)
    answers = sampler.canary(lineage.served, bench.canary_prompts)
    lineage.canary = bench.check_canary(lineage.weights, answers)
    return Job(lineage.served, bench.requests(arm, generation), bench.decoding(arm))


def _measure(bench: Workbench, lineage: Lineage, generation: int, answers: Sequence[Completion]) -> Generation:
    from autophage.store.commit import Generation

    arm, served = lineage.arm, lineage.served
    assert served is not None
    measured = bench.measure(arm, generation, lineage.weights, lineage.previous, answers, Meter())
    lineage.corpora[generation] = measured.samples
    return Generation(
        arm.name,
        generation,
        lineage.weights,
        served.name,
        measured.samples,
        [*measured.metrics, *lineage.trained],
        lineage.canary,
        arm.recipe.seed,
        lineage.steps,
        lineage.optimizer,
        measured.answers,
    )


SHOWN = ("knowledge/accuracy.torso", "fluency/ppl_form", "fluency/ppl_human", "onpolicy/entropy", "text/distinct_2")


def _print_generation(arm: str, generation: int, metrics: Sequence[Metric], seconds: float) -> None:
    values = {metric.metric: metric.value for metric in metrics}
    shown = "  ".join(f"{name} {values[name]:.3f}" for name in SHOWN if name in values)
    print(f"{arm:>12}  generation {generation}  {shown}  ({seconds:.1f} s)", flush=True)


def _print_base(now: Progress) -> None:
    end = "\n" if now.done == now.total else ""
    print(f"\rbase model: {now.done:,} of {now.total:,} tokens, loss {now.loss:.3f}", end=end, flush=True)


def _unwatched(*_: object) -> None:
    """Progress is the engine's matter; this loop prints a line per generation."""


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[2] != "--out":
        sys.exit("usage: python -m autophage.loop RECIPE --out DIR, such as: smoke --out runs/loop")
    run_loop(sys.argv[1], Path(sys.argv[3]))
