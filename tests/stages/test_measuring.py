"""`measure.every`: generations between two measurements have the metrics of their samples, and no others."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest

from autophage.metrics.scored import Statistics
from autophage.progress import Meter
from autophage.recipe import load_recipe
from autophage.recipe.arms import expand
from autophage.sampler.protocol import Completion, Request

if TYPE_CHECKING:
    from autophage.recipe.schema import Recipe
    from autophage.stages.workbench import Workbench

pytestmark = pytest.mark.thorough

SETTINGS = (
    "base.tokens=8_000", "base.hidden_size=64", "base.layers=1", "base.heads=2", "sweep={}", "control.enabled=false",
    "generations=5", "measure.every=3", "sample.count=4", "sample.max_tokens=8", "measure.probes=4", "source.people=10",
    "source.held_out_documents=4", "measure.documents=4", "measure.resamples=100", "questions.kind=world",
    "questions.count=2", "source.choices=0.3",
)  # fmt: skip


def written(requests: list[Request]) -> list[Completion]:
    flat = np.ones(4, dtype=np.float32)
    one = Statistics(-flat, flat, flat, flat, np.ones(4, dtype=np.int64))
    return [Completion([5, 6, 7, 8 + place % 3], "length", statistics=one) for place, _ in enumerate(requests)]


def test_a_model_is_measured_every_third_generation_and_at_the_end(
    workbench: Callable[[Recipe], Workbench],
) -> None:
    recipe = load_recipe("smoke", list(SETTINGS)).recipe
    bench = workbench(recipe)
    (arm,) = expand(recipe)
    weights = bench.base_weights(arm)
    found = {}
    for generation in range(6):
        meter, requests = Meter(), bench.requests(arm, generation)
        found[generation] = bench.measure(arm, generation, weights, None, written(requests), meter)
        assert meter.progress.done == meter.progress.total
        assert (len(requests) > 4) == (generation in (0, 3, 5))
    families = {g: {metric.metric.partition("/")[0] for metric in one.metrics} for g, one in found.items()}
    corpus = {"onpolicy", "text", "tail"}
    model = {"knowledge", "questions", "fluency", "drift", "detect", "fact", "format"}
    assert [g for g, one in found.items() if one.answers] == [0, 3, 5]
    for generation, found_families in families.items():
        assert corpus <= found_families
        assert bool(model & found_families) == (generation in (0, 3, 5))
        assert generation not in (0, 3, 5) or model <= found_families
    between = found[1]
    assert all(sample.ppl_under_base is None for sample in between.samples)


def test_an_interval_beyond_the_run_measures_both_ends() -> None:
    recipe = load_recipe("smoke", ["measure.every=100", "generations=4"]).recipe
    assert [g for g in range(5) if recipe.measures_model(g)] == [0, 4]
    assert all(load_recipe("smoke", []).recipe.measures_model(g) for g in range(9))
