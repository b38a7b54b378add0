"""The whole idea in one process: a model is trained on what it wrote, generation after generation.

    for each arm:
        for each generation g:
            train    model g on corpus g-1, mixed with human text          (model 0 is the base model)
            swap     its weights into the running sampler, and check it
            sample   corpus g
            measure  model g and corpus g
            commit   all of it, atomically

No Ray, no overlap, no resuming. The distributed engine runs the same stages elsewhere and in another order; the tests
hold its corpora and metrics equal to this file's. Run it: `python -m autophage.loop smoke --out runs/loop`.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from autophage import environment


def run_loop(recipe_name: str, out: Path, overrides: list[str] | None = None) -> None:
    """Run every arm of a recipe into `out`, which must not hold a run yet."""
    environment.apply()
    from autophage.data.build import read_source
    from autophage.devices import device
    from autophage.provenance import begin_run, model_path, resume_level, versions
    from autophage.recipe import load_recipe
    from autophage.sampler.engine import Sampler
    from autophage.stages import Workbench
    from autophage.store.commit import Generation, commit_generation
    from autophage.store.corpus import Sample
    from autophage.store.rundir import RunDirectory
    from autophage.store.training import StepStatistics

    loaded = load_recipe(recipe_name, overrides or [])
    recipe, arms = loaded.recipe, loaded.arms
    source = read_source(recipe)
    run = begin_run(loaded, RunDirectory(out))

    bench = Workbench(recipe, source, model_path(recipe, source, _print_base))
    sampler = Sampler(bench.engine_settings(arms))

    for arm in arms:
        weights = bench.base_weights(arm)
        optimizer: bytes | None = None
        corpora: dict[int, list[Sample]] = {}
        for generation in range(recipe.generations + 1):
            begun = time.perf_counter()
            previous = weights if generation > 0 else None
            steps: list[StepStatistics] = []
            if generation > 0:
                start = weights if arm.recipe.train.chain == "cumulative" else bench.base_weights(arm)
                trained = bench.fit(arm, generation, start, corpora, _ignore, optimizer)
                weights, steps, optimizer = trained.weights, trained.steps, trained.optimizer

            served = sampler.install(f"{arm.name}@{generation}", weights)
            canary = bench.check_canary(weights, sampler.canary(served, bench.canary_prompts))

            answers = sampler.sample(served, bench.requests(arm, generation), bench.decoding(arm), _ignore)
            sampler.remove(served)

            samples, metrics = bench.measure(arm, generation, weights, previous, answers, _ignore)
            corpora[generation] = samples
            commit_generation(
                run,
                Generation(
                    arm.name,
                    generation,
                    weights,
                    served.name,
                    samples,
                    metrics,
                    canary,
                    arm.recipe.seed,
                    steps,
                    optimizer,
                ),
                level=resume_level(device().type),
                versions=versions(),
                arms=[one.name for one in arms],
            )
            _print_generation(arm.name, generation, metrics, time.perf_counter() - begun)


SHOWN = ("knowledge/accuracy.torso", "fluency/ppl_form", "fluency/ppl_human", "onpolicy/entropy", "text/distinct_2")


def _print_generation(arm: str, generation: int, metrics: list, seconds: float) -> None:  # type: ignore[type-arg]
    values = {metric.metric: metric.value for metric in metrics}
    shown = "  ".join(f"{name} {values[name]:.3f}" for name in SHOWN if name in values)
    print(f"{arm:>12}  generation {generation}  {shown}  ({seconds:.1f} s)", flush=True)


def _print_base(done: int, total: int, loss: float) -> None:
    print(f"\rbase model: {done:,} of {total:,} tokens, loss {loss:.3f}", end="\n" if done == total else "", flush=True)


def _ignore(*_: int) -> None:
    """Progress is the engine's matter; this loop prints a line per generation."""


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[2] != "--out":
        sys.exit(
            "usage: python -m autophage.loop RECIPE --out DIR     for example: python -m autophage.loop smoke --out runs/loop"
        )
    run_loop(sys.argv[1], Path(sys.argv[3]))
