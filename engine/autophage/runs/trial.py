"""A trial of a recipe: a few samples of model 0, judged by the gates, in one process. Nothing is trained or kept.

The stages are those of a run, as in `loop.py`. Only a base model "from-source" stays in the cache, where the run finds it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TextIO

from autophage.errors import UserError
from autophage.host import environment, vllm_window
from autophage.live.progress import progress_bar, spinner
from autophage.recipe import LoadedRecipe
from autophage.recipe.arms import Arm, with_values
from autophage.runs.execute import refuse_early

if TYPE_CHECKING:
    from autophage.progress import Meter
    from autophage.stages.beam import AnySampler
    from autophage.stages.workbench import Workbench
    from autophage.store.corpus import Sample
    from autophage.store.manifest import Metric

MOST = 1000
"""Most samples of a trial. A run is the way to more."""


@dataclass(frozen=True)
class Trial:
    """Samples of model 0 of one arm, with the gates' verdicts.

    `metrics` are those of the gates. `seconds` maps a step of the trial to its duration. `notes` are sentences for the user.
    """

    arm: str
    model: str
    parameters: int
    samples: list[Sample]
    metrics: list[Metric]
    seconds: dict[str, float]
    notes: list[str]

    @property
    def tokens(self) -> int:
        """Number of generated tokens."""
        return sum(len(sample.token_ids) for sample in self.samples)


def try_recipe(loaded: LoadedRecipe, count: int, arm: str | None = None, stream: TextIO | None = None) -> Trial:
    """Sample `count` documents of model 0 with the prompts and decoding of one arm, and let its gates judge them.

    Args:
        arm: Name of the arm; None is the first that reads samples.
        stream: Terminal for the progress; None is standard error.

    Raises:
        UserError: The recipe trains no language model, has no such arm, or cannot run here.
    """
    if not loaded.recipe.trains_language_model:
        raise UserError(
            f"{loaded.recipe.name}: its models write no text to look at. `autophage run` of it takes seconds to minutes."
        )
    if not 1 <= count <= MOST:
        raise UserError(f"--count {count}: give 1 to {MOST}.")
    chosen = _with_count(_arm(loaded, arm), count)
    environment.apply()
    environment.alone()
    vllm_window.require()
    notes = refuse_early(loaded)
    return _tried(loaded, chosen, count, notes, stream)


def _arm(loaded: LoadedRecipe, name: str | None) -> Arm:
    if name is None:
        return next((arm for arm in loaded.arms if not arm.control), loaded.arms[0])
    for arm in loaded.arms:
        if arm.name == name:
            return arm
    raise UserError(f"--arm {name}: the recipe has no such arm. It has {', '.join(one.name for one in loaded.arms)}.")


def _with_count(arm: Arm, count: int) -> Arm:
    """Return an arm that writes at least `count` samples, and few more."""
    wanted = math.ceil(count / arm.recipe.sample.oversample)
    return replace(arm, recipe=with_values(arm.recipe, {"sample.count": wanted}))


def _tried(loaded: LoadedRecipe, arm: Arm, count: int, notes: list[str], stream: TextIO | None) -> Trial:
    from autophage.data.build import read_source
    from autophage.progress import Meter
    from autophage.stages.beam import sampler_for
    from autophage.stages.facts import model_path
    from autophage.stages.workbench import Workbench

    seconds: dict[str, float] = {}
    source = read_source(loaded.recipe)
    with _timed(seconds, "base model"), progress_bar("base model", "tokens", stream) as meter:
        path = model_path(loaded.recipe, source, meter)
    with _timed(seconds, "loading"), spinner("loading the model", stream):
        bench = Workbench(arm.recipe, source, path)
    with _timed(seconds, "starting"), spinner("starting the sampler", stream):
        sampler = sampler_for(bench.engine_settings([arm]))
    with _timed(seconds, "sampling"), progress_bar("sampling", "samples", stream) as meter:
        samples = _sampled(bench, sampler, arm, meter)
    with _timed(seconds, "judging"), spinner("judging", stream):
        metrics = bench.judge(arm, samples, Meter())
    model = loaded.recipe.model.path
    return Trial(
        arm.name, model, bench.resident.parameters, samples[:count], metrics, seconds, [*notes, *bench.notes(), *sampler.notes()]
    )  # fmt: skip


def _sampled(bench: Workbench, sampler: AnySampler, arm: Arm, meter: Meter) -> list[Sample]:
    """Put model 0 into the sampler, check it, and sample the documents of its corpus."""
    from autophage.sampler.protocol import Job
    from autophage.stages.judging import make_samples

    weights = bench.base_weights(arm)
    served = sampler.install(f"{arm.name}@0", weights)
    bench.check_canary(weights, sampler.canary(served, bench.canary_prompts), None)
    requests = bench.documents(arm, 0)
    meter.expect(len(requests))

    def ended(job: int, place: int, token_ids: list[int]) -> None:
        meter.advance(tokens=len(token_ids))

    (completions,) = sampler.sample([Job(served, requests, bench.decoding(arm))], ended)
    return make_samples(arm, 0, requests, completions, bench.tokenizer)


@contextmanager
def _timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    seconds[step] = round(time.perf_counter() - began, 3)
