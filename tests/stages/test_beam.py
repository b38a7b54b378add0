"""Beam search: documents of transformers' `generate` in any batch, with statistics, swaps and canaries."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from autophage.errors import SwapError
from autophage.progress import Meter
from autophage.recipe import load_recipe
from autophage.recipe.arms import expand
from autophage.recipe.schema import Recipe
from autophage.sampler.protocol import Decoding, Job, Request, Served
from autophage.stages.beam import BeamSampler
from autophage.stages.workbench import Workbench

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Contents = Callable[[Path], dict[str, object]]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SETTINGS = ["sample.beams=3", "sample.prompts=blocks", "sample.count=12", "sample.max_tokens=20", "base.tokens=30_000"]
BEAMS = Decoding(max_tokens=20, temperature=1.0, top_p=1.0, top_k=0, stop_ids=(), beams=3)


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load_recipe("smoke", SETTINGS).recipe


@pytest.fixture(scope="module")
def bench(recipe: Recipe, workbench: Callable[[Recipe], Workbench]) -> Workbench:
    return workbench(recipe)


@pytest.fixture(scope="module")
def sampler(bench: Workbench, recipe: Recipe) -> BeamSampler:
    return BeamSampler(bench.engine_settings(expand(recipe)))


@pytest.fixture(scope="module")
def served(bench: Workbench, recipe: Recipe, sampler: BeamSampler) -> Served:
    return sampler.install("base", bench.base_weights(expand(recipe)[0]))


def test_documents_are_those_of_a_search_alone(bench: Workbench, sampler: BeamSampler, served: Served) -> None:
    """Prompts of different lengths share a batch. Padding must not change a document."""
    requests = [
        Request(document.token_ids[: 3 + index % 5], 0) for index, document in enumerate(bench.source.held_out()[:10])
    ]
    model = bench.resident.model
    for decoding in (BEAMS, Decoding(20, 1.0, 1.0, 0, (), repetition_penalty=2.0, beams=3)):
        (written,) = sampler.sample([Job(served, requests, decoding)], lambda *_: None)
        for request, one in zip(requests, written, strict=True):
            alone = model.generate(
                torch.tensor([request.prompt_ids]), attention_mask=torch.ones(1, len(request.prompt_ids), dtype=torch.long),
                num_beams=3, do_sample=False, max_new_tokens=20, min_new_tokens=20, pad_token_id=0,
                eos_token_id=None, repetition_penalty=decoding.repetition_penalty,
            )  # fmt: skip
            assert one.token_ids == alone[0, len(request.prompt_ids) :].tolist()
            assert one.finish_reason == "length"


def test_a_stop_token_ends_a_document(bench: Workbench, sampler: BeamSampler, served: Served) -> None:
    stop = bench.tokenizer.convert_tokens_to_ids(".")
    assert isinstance(stop, int)
    requests = [Request(list(document.token_ids[:6]), 0) for document in bench.source.held_out()[:10]]
    decoding = Decoding(40, 1.0, 1.0, 0, (stop,), beams=3)
    (written,) = sampler.sample([Job(served, requests, decoding)], lambda *_: None)
    ended = [one for one in written if one.finish_reason == "stop"]
    assert ended
    assert all(one.token_ids[-1] == stop and stop not in one.token_ids[:-1] for one in ended)


def test_every_token_is_watched(bench: Workbench, sampler: BeamSampler, served: Served) -> None:
    requests = [Request(list(document.token_ids[:6]), 0) for document in bench.source.held_out()[:6]]
    told: list[tuple[int, int]] = []
    (written,) = sampler.sample([Job(served, requests, BEAMS)], lambda job, place, _: told.append((job, place)))
    assert told == [(0, place) for place in range(6)]
    bench.resident.load(bench.resident.base_weights())
    expected = bench.resident.score(
        [[*request.prompt_ids, *one.token_ids] for request, one in zip(requests, written, strict=True)], [6] * 6
    )
    for one, scored in zip(written, expected, strict=True):
        assert one.statistics is not None
        np.testing.assert_allclose(one.statistics.logprob, scored.logprob, atol=1e-5)
        assert len(one.statistics.entropy) == len(one.token_ids)


def test_beams_find_likelier_documents_than_greedy_search(
    bench: Workbench, sampler: BeamSampler, served: Served
) -> None:
    requests = [Request(list(document.token_ids[:6]), 0) for document in bench.source.held_out()[:20]]
    total = []
    for beams in (1, 5):
        (written,) = sampler.sample(
            [Job(served, requests, Decoding(12, 1.0, 1.0, 0, (), beams=beams))], lambda *_: None
        )
        total.append(sum(float(one.statistics.logprob.sum()) for one in written if one.statistics is not None))
    assert total[1] > total[0]


def test_the_canary_finds_another_model(bench: Workbench, recipe: Recipe, sampler: BeamSampler, served: Served) -> None:
    arm = next(arm for arm in expand(recipe) if arm.control)
    answers = sampler.canary(served, bench.canary_prompts)
    assert bench.check_canary(bench.base_weights(arm), answers).nats < 5e-4
    trained = bench.fit(arm, 1, bench.base_weights(arm), {0: []}, Meter())
    with pytest.raises(SwapError):
        bench.check_canary(trained.weights, answers)


@pytest.mark.long
def test_engine_and_loop_agree_and_a_resumed_run_is_the_same(
    autophage: Run, variables: dict[str, str], contents: Contents, tmp_path: Path
) -> None:
    out, plain = tmp_path / "engine", tmp_path / "loop"
    settings = [
        word
        for one in [*SETTINGS, "generations=1", "train.keep=best", "measure.documents=10"]
        for word in ("--set", one)
    ]
    done = autophage("run", "smoke", *settings, "--out", out)
    assert done.returncode == 0, done.stderr[-2000:]
    overrides = [*SETTINGS, "generations=1", "train.keep=best", "measure.documents=10"]
    call = f"run_loop('smoke', Path({str(plain)!r}), {overrides!r})"
    code = f"from pathlib import Path; from autophage.loop import run_loop; {call}"
    subprocess.run([sys.executable, "-c", code], env=variables, check=True, capture_output=True)
    assert contents(out) == contents(plain)
    rows = pq.read_table(out / "arms/alpha-1.0/gen-001/corpus-00000.parquet").to_pylist()
    assert len(rows) == 12
    assert all(len(row["logprob"]) == len(row["token_ids"]) > 0 for row in rows)
    before = contents(out)
    for folder in out.glob("arms/*/gen-001"):
        (folder / "manifest.json").unlink()
    again = autophage("run", "smoke", *settings, "--out", out)
    assert again.returncode == 0, again.stderr[-2000:]
    assert contents(out) == before
