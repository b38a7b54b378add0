"""Comparison of models on a tiny base: it equals separate scoring, and its KL is a KL."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from autophage.data.build import bind, read_source
from autophage.data.mix import TrainingRow
from autophage.metrics.scored import Statistics
from autophage.progress import Meter, Progress
from autophage.recipe.arms import expand
from autophage.recipe.schema import Recipe
from autophage.recipe.tables.model import BaseTable, ModelTable
from autophage.recipe.tables.source import SourceTable
from autophage.recipe.tables.train import TrainTable
from autophage.sampler.protocol import Completion, Request
from autophage.stages.workbench import Workbench
from autophage.store.corpus import Sample
from autophage.store.manifest import Metric
from autophage.store.weights import Weights
from autophage.trainer.base_model import ensure_base_model
from autophage.trainer.divergence import compare
from autophage.trainer.fit import FitRequest
from autophage.trainer.resident import ResidentModel

RECIPE = Recipe(
    name="t",
    model=ModelTable(rank=4),
    base=BaseTable(hidden_size=64, layers=2, heads=2, tokens=20_000),
    source=SourceTable(people=12, held_out_documents=8),
    train=TrainTable(batch_size=8, learning_rate=1e-2),
)


@pytest.fixture(scope="module")
def resident(tmp_path_factory: pytest.TempPathFactory) -> ResidentModel:
    patch = pytest.MonkeyPatch()
    patch.setenv("AUTOPHAGE_CACHE", str(tmp_path_factory.mktemp("cache")))
    folder = ensure_base_model(RECIPE, read_source(RECIPE), Meter())
    patch.undo()
    return ResidentModel(str(folder), RECIPE)


@pytest.fixture(scope="module")
def rows(resident: ResidentModel) -> list[TrainingRow]:
    source = bind(read_source(RECIPE), resident.tokenizer, RECIPE)
    return [TrainingRow(item.prompt_ids + item.continuation_ids, 1) for item in source.items(5, 30)]


def trained(resident: ResidentModel, rows: list[TrainingRow], seed: int) -> Weights:
    return resident.fit(FitRequest(resident.base_weights(), rows, RECIPE, seed)).weights


@pytest.mark.thorough
def test_every_model_is_seen_as_if_it_were_alone(resident: ResidentModel, rows: list[TrainingRow]) -> None:
    base, first, second = resident.base_weights(), trained(resident, rows, 1), trained(resident, rows[:9], 2)
    sequences = [row.token_ids for row in rows] + [[1, 5], [1, 2, 3]]
    contexts = [1] * len(rows) + [2, 1]
    meter = Meter()
    to_base, to_first = compare(resident, second, [base, first], sequences, contexts, meter)
    assert meter.progress.done == len(sequences)
    loaded = resident.score(sequences, contexts)
    for adapter, found in ((base, to_base), (first, to_first)):
        resident.load(adapter)
        for alone, one in zip(resident.score(sequences, contexts), found, strict=True):
            np.testing.assert_allclose(one.scored.logprob, alone.logprob, atol=1e-4)
            np.testing.assert_allclose(one.scored.varentropy, alone.varentropy, atol=1e-3)
            assert (one.kl >= 0).all()
    # The same KL, summed in double precision.
    resident.load(second)
    probability_TV = plain_log_probs(resident, sequences[0])
    resident.load(base)
    expected = (np.exp(probability_TV) * (probability_TV - plain_log_probs(resident, sequences[0]))).sum(axis=1)
    np.testing.assert_allclose(to_base[0].kl, expected, rtol=1e-3, atol=1e-6)
    assert to_base[0].kl.mean() > 1e-4
    assert to_base[-2].kl.size == 0
    resident.load(second)
    for own, left in zip(resident.score(sequences, contexts), loaded, strict=True):
        assert np.array_equal(own.logprob, left.logprob), "the writer is not what was left loaded"


def plain_log_probs(resident: ResidentModel, sequence: list[int]) -> np.ndarray:
    with torch.inference_mode():
        logits = resident.model(input_ids=torch.tensor([sequence])).logits[0, :-1].double()
    log_p: np.ndarray = logits.log_softmax(1).numpy()
    return log_p


def measured(
    resident: ResidentModel, adapter: Weights, previous: Weights | None, completions: list[Completion], drift: bool
) -> tuple[list[Sample], dict[str, Metric], Progress]:
    """Measure a generation of the recipe's treated arm from given completions."""
    settings = RECIPE.measure.model_copy(update={"drift": drift, "resamples": 100, "reference": 50})
    recipe = RECIPE.model_copy(
        update={"measure": settings, "sample": RECIPE.sample.model_copy(update={"count": len(completions)})}
    )
    bench = Workbench(recipe, read_source(recipe), resident.path)
    meter = Meter()
    arm = expand(recipe)[0]
    generation = 0 if previous is None else 1
    completions = observed(bench, adapter, bench.requests(arm, generation), completions)
    samples, metrics, _ = bench.measure(arm, generation, adapter, previous, completions, meter)
    assert len({metric.metric for metric in metrics}) == len(metrics)
    return samples, {metric.metric: metric for metric in metrics}, meter.progress


def observed(
    bench: Workbench, adapter: Weights, requests: list[Request], completions: list[Completion]
) -> list[Completion]:
    """Add the statistics that the sampler would record."""
    bench.resident.load(adapter)
    scored = bench.resident.score(
        [request.prompt_ids + one.token_ids for request, one in zip(requests, completions, strict=True)],
        [len(request.prompt_ids) for request in requests],
    )
    names = [field.name for field in dataclasses.fields(Statistics)]
    return [
        dataclasses.replace(one, statistics=Statistics(*(getattr(stats, name) for name in names)))
        for one, stats in zip(completions, scored, strict=True)
    ]


@pytest.mark.thorough
def test_the_stage_measures_all_of_it(resident: ResidentModel, rows: list[TrainingRow]) -> None:
    written = [Completion(row.token_ids[1:], "stop") for row in rows]
    adapter = trained(resident, rows, 1)
    samples, found, seen = measured(resident, adapter, resident.base_weights(), written, drift=True)
    assert seen.done == seen.total > 0
    assert found["drift/kl_to_base"].value == found["drift/kl_to_previous"].value > 0
    values = [sample.ppl_under_base for sample in samples]
    assert found["tail/ppl_under_base"].value == pytest.approx(np.median([value for value in values if value]))
    # Human documents have human shares of tokens, up to chance.
    assert found["tail/mass_vs_human"].value == pytest.approx(1.0, abs=0.5)
    assert {"detect/fast_detectgpt", "text/vendi", "text/novelty", "text/junk", "knowledge/ece.tail"} <= found.keys()
    for metric in found.values():
        assert metric.low is None or metric.high is None or metric.low <= metric.high, metric
    plain, without, seen = measured(resident, adapter, resident.base_weights(), written, drift=False)
    assert seen.done == seen.total > 0
    assert {sample.ppl_under_base for sample in plain} == {None}
    kept = {name: one for name, one in found.items() if not name.startswith(("drift/", "detect/", "tail/ppl"))}
    assert without == kept


@pytest.mark.thorough
def test_model_0_is_its_own_base(resident: ResidentModel, rows: list[TrainingRow]) -> None:
    written = [Completion(row.token_ids[1:], "stop") for row in rows]
    samples, found, _ = measured(resident, resident.base_weights(), None, written, drift=True)
    assert (found["drift/kl_to_base"].value, found["drift/kl_to_base"].high) == (0.0, 0.0)
    assert "drift/kl_to_previous" not in found
    own = [float(np.exp(-sample.logprob.mean())) for sample in samples]
    assert [sample.ppl_under_base for sample in samples] == pytest.approx(own, rel=1e-4)


@pytest.mark.thorough
@pytest.mark.parametrize("token_ids", [[], [2], [7] * 20, [9]], ids=["empty", "end alone", "one repeated", "one"])
def test_collapsed_corpora_are_measured_not_refused(resident: ResidentModel, token_ids: list[int]) -> None:
    written = [Completion(token_ids, "length") for _ in range(5)]
    samples, found, _ = measured(resident, resident.base_weights(), resident.base_weights(), written, drift=True)
    assert len(samples) == 5
    assert all(np.isfinite(metric.value) for metric in found.values())
    assert found["text/duplicate"].value == 4 / 5
    assert found["text/vendi"].value == pytest.approx(1.0)


@pytest.mark.thorough
def test_a_model_does_not_differ_from_itself(resident: ResidentModel, rows: list[TrainingRow]) -> None:
    own = trained(resident, rows, 1)
    again = Weights(bytes(own.tensors), own.config)
    ((*same,),) = compare(resident, own, [again], [row.token_ids for row in rows], [1] * len(rows), Meter())
    assert all((one.kl == 0).all() for one in same)
