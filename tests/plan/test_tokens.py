"""Workloads, compared with counts by hand."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from tests.plan.conftest import RecipeMaker

from autophage.data.tokens import word_tokenizer
from autophage.data.world import World
from autophage.data.world_source import WorldSource
from autophage.plan.tokens import WORLD_DOCUMENT_TOKENS, WORLD_OPENING_TOKENS, sample_tokens, workload

PROBES = 300 * 4 * (10 + 8 + 44)
HELD_OUT = 200 * WORLD_DOCUMENT_TOKENS


def test_documents_and_rows_of_a_world(recipe_of: RecipeMaker) -> None:
    recipe = recipe_of(sample={"count": 100}, train={"epochs": 2.0, "batch_size": 32})
    first, second = workload(recipe, 0), workload(recipe, 1)
    assert first.sample.tokens == 100 * WORLD_DOCUMENT_TOKENS
    assert first.sample.prompt_tokens == 100
    assert (first.train.tokens, first.train.steps) == (0, 0)
    assert second.train.tokens == 100 * 2 * (1 + WORLD_DOCUMENT_TOKENS)
    assert second.train.steps == 7  # 200 rows, 32 a step


def test_samples_are_scored_once_per_model_that_differs(recipe_of: RecipeMaker) -> None:
    recipe = recipe_of(sample={"count": 100})
    once = 100 * (1 + WORLD_DOCUMENT_TOKENS)
    passes = [(workload(recipe, generation).measure.tokens - PROBES - HELD_OUT) / once for generation in range(5)]
    assert passes == [1, 2, 3, 3, 3]  # of generation 1 the previous model is model 0
    without = workload(recipe_of(sample={"count": 100}, measure={"drift": False}), 3)
    assert without.measure.tokens == PROBES + HELD_OUT


def test_a_generation_between_two_measurements_scores_nothing(recipe_of: RecipeMaker) -> None:
    questions = {"kind": "world", "count": 10}
    recipe = recipe_of(sample={"count": 100}, measure={"every": 3}, questions=questions, generations=5)
    works = [workload(recipe, generation) for generation in range(6)]
    assert [bool(work.measure.tokens) for work in works] == [True, False, False, True, False, True]
    assert [work.sample.documents > 100 for work in works] == [True, False, False, True, False, True]
    gated = recipe_of(sample={"count": 100}, measure={"every": 3}, gate=[{"kind": "surprise", "under": "base"}])
    assert workload(gated, 1).measure.tokens == 100 * (1 + WORLD_DOCUMENT_TOKENS)


def test_gates_choose_among_more_documents_and_may_read_them(recipe_of: RecipeMaker) -> None:
    plain, gate = recipe_of(sample={"count": 100}), [{"kind": "surprise", "under": "base"}, {"kind": "verifier"}]
    gated = recipe_of(sample={"count": 100, "oversample": 2.0}, gate=gate)
    once = 200 * (1 + WORLD_DOCUMENT_TOKENS)
    assert workload(gated, 1).sample.tokens == 2 * workload(plain, 1).sample.tokens
    assert workload(gated, 1).train == workload(plain, 1).train
    assert workload(gated, 1).measure.tokens == PROBES + HELD_OUT + (2 + 1) * once


def test_a_text_samples_to_its_limit_and_trains_on_the_mix(recipe_of: RecipeMaker) -> None:
    source = {"kind": "text", "path": "/nowhere", "block": 32, "continuation": 64}
    sample = {"count": 10, "max_tokens": 40}
    whole = recipe_of(source=source, sample=sample, mix={"alpha": 0.5}, train={"epochs": 1.0, "loss_on": "all"})
    one = workload(whole, 1)
    assert one.sample.tokens == 10 * 40
    assert one.sample.prompt_tokens == 10 * 33
    assert one.train.tokens == 10 * (33 + 0.5 * 40 + 0.5 * 64)
    alone = workload(recipe_of(source=source, sample=sample, train={"epochs": 1.0}), 1)
    assert alone.train.tokens == 10 * (1 + 40)  # each sample a document of its own


def test_an_annotation_is_given_and_trained_on(recipe_of: RecipeMaker) -> None:
    source = {"kind": "text", "path": "/nowhere", "block": 32, "continuation": 64}
    text = recipe_of(
        source=source, sample={"count": 10, "prompts": "annotated", "annotation": 6}, train={"epochs": 1.0}
    )
    one = workload(text, 1)
    assert one.sample.prompt_tokens == 10 * 7
    assert one.sample.tokens == 10 * 58
    assert one.train.tokens == 10 * 65
    world = workload(recipe_of(sample={"count": 10, "prompts": "annotated"}, train={"epochs": 1.0}), 1)
    assert world.sample.tokens + world.sample.prompt_tokens == 10 * (1 + WORLD_DOCUMENT_TOKENS) == world.train.tokens


def test_annotations_of_a_world_are_as_long_as_planned() -> None:
    world = World(people=60, zipf=0.8, seed=0, held_out=50)
    prompts = WorldSource(world, word_tokenizer(world.vocabulary), "annotated").prompts(1, 1000)
    assert np.mean([len(prompt) - 1 for prompt in prompts]) == pytest.approx(WORLD_OPENING_TOKENS["annotated"], abs=0.6)


@pytest.mark.parametrize(("concurrency", "steps"), [(200, 64), (100, 82), (50, 164)])
def test_decode_steps_are_shared_by_what_runs_at_once(recipe_of: RecipeMaker, concurrency: int, steps: int) -> None:
    """200 documents have 41 tokens on average. At a concurrency of 50 they take four times as long as one."""
    assert workload(recipe_of(sample={"count": 200, "concurrency": concurrency}), 0).sample.steps == steps


def test_held_out_windows_are_as_many_as_the_text_has(recipe_of: RecipeMaker, tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("x" * 44_800, "utf-8")  # 0.1 of it, 3.5 bytes a token, 128 tokens a window: 10 windows
    source = {"kind": "text", "path": str(path), "held_out": 0.1}
    few = workload(recipe_of(source=source, measure={"drift": False}), 0)
    assert few.measure.tokens == 10 * 129
    path.write_text("x" * 44_800_000, "utf-8")
    assert workload(recipe_of(source=source, measure={"drift": False}), 0).measure.tokens == 256 * 129


def test_an_accumulated_pool_grows(recipe_of: RecipeMaker) -> None:
    def trained(pool: str) -> list[float]:
        return [workload(recipe_of(mix={"pool": pool}), generation).train.tokens for generation in (1, 2, 3)]

    replaced, accumulated, drawn = map(trained, ("replace", "accumulate", "accumulate-subsample"))
    assert accumulated == [2 * replaced[0], 3 * replaced[0], 4 * replaced[0]]
    assert drawn == replaced


def test_samples_that_never_end_have_the_limit(recipe_of: RecipeMaker) -> None:
    assert sample_tokens(recipe_of(sample={"end": "ignore"})) == 64
    assert sample_tokens(recipe_of(sample={"max_tokens": 20})) == 20


def test_questions_are_sampled_with_the_corpus_and_scored(recipe_of: RecipeMaker) -> None:
    plain = recipe_of(sample={"count": 100})
    asked = {"kind": "world", "formats": ["few-shot", "short-answer"], "count": 50, "max_tokens": 10}
    one, two = workload(plain, 0), workload(recipe_of(sample={"count": 100}, questions=asked), 0)
    questions = 3 * 50  # head, torso and tail of 300 people have more facts than that
    assert two.sample.documents == 100 + 2 * questions
    assert two.sample.tokens == one.sample.tokens + 2 * questions * 10
    assert two.sample.prompt_tokens == one.sample.prompt_tokens + questions * (44 + 10)
    assert two.measure.tokens == one.measure.tokens + questions * (44 + 10)
    silent = workload(recipe_of(sample={"count": 100}, questions={**asked, "generate": False}), 0)
    assert (silent.sample, silent.measure.tokens) == (one.sample, two.measure.tokens)


def test_a_subject_is_a_file_and_options_share_their_prompt(recipe_of: RecipeMaker, tmp_path: Path) -> None:
    for subject in ("one", "two", "three"):
        (tmp_path / f"{subject}_test.csv").write_text("", "utf-8")
    asked = {"kind": "mmlu", "path": str(tmp_path), "count": 20, "formats": ["short-answer", "no-instruction"]}
    plain, found = workload(recipe_of(), 0), workload(recipe_of(questions=asked), 0)
    assert found.sample.documents - plain.sample.documents == 2 * 3 * 20
    assert found.measure.tokens - plain.measure.tokens == 60 * (95 + 90)  # options share their prompt
    named = workload(recipe_of(questions={**asked, "path": "owner/name", "subjects": ["a", "b"]}), 0)
    assert named.sample.documents - plain.sample.documents == 2 * 2 * 20
    whole = workload(recipe_of(questions={**asked, "path": "owner/name"}), 0)
    assert whole.sample.documents - plain.sample.documents == 2 * 57 * 20


def test_places_are_asked_by_subject_and_class(recipe_of: RecipeMaker) -> None:
    asked = {"kind": "places", "subjects": ["cities", "capitals"], "count": 75, "formats": ["cloze", "few-shot"]}
    model = {"path": "owner/model"}
    plain, found = workload(recipe_of(model=model), 0), workload(recipe_of(model=model, questions=asked), 0)
    questions = 3 * 75 + 75 + 73 + 70  # the smaller countries are fewer
    assert found.sample.documents - plain.sample.documents == 2 * questions
    assert found.measure.tokens - plain.measure.tokens == questions * (10 + 110)  # options share their prompt


def test_what_goes_forward_in_training_without_being_trained_on(recipe_of: RecipeMaker) -> None:
    mix, train = {"alpha": 0.25}, {"epochs": 2.0, "batch_size": 32}
    plain = workload(recipe_of(sample={"count": 100}, mix=mix, train=train), 1).train
    assert (plain.scored, plain.batches) == (0.0, 0)
    for anchor in ({"kl": 0.1}, {"objective": "distill"}):
        held = workload(recipe_of(sample={"count": 100}, mix=mix, train=train, anchor=anchor), 1).train
        assert (held.scored, held.batches) == (plain.tokens, plain.steps)
        assert (held.tokens, held.steps) == (plain.tokens, plain.steps)
    alone = workload(
        recipe_of(sample={"count": 100}, mix={"alpha": 0.0}, train=train, anchor={"objective": "distill"}), 1
    )
    assert alone.train.scored == 0.0  # nothing to distil on
    edited = workload(recipe_of(sample={"count": 100}, mix={**mix, "human_edit": 0.9}, train=train), 1).train
    assert (edited.scored, edited.batches) == (75 * (1 + WORLD_DOCUMENT_TOKENS), 2)
    heap = {**mix, "human_edit": 0.9, "pool": "accumulate"}
    grown = workload(recipe_of(sample={"count": 100}, mix=heap, train=train), 3).train
    assert grown.scored == (100 + 3 * 75) * (1 + WORLD_DOCUMENT_TOKENS)


def test_gates_that_learn_take_steps_and_read_human_documents_again(recipe_of: RecipeMaker) -> None:
    gate = [{"kind": "gain", "human": 70, "steps": 3}]
    plain, gated = (workload(recipe_of(sample={"count": 100}, **tables), 1).measure for tables in ({}, {"gate": gate}))
    assert (plain.trained, plain.steps) == (0.0, 0)
    assert (gated.trained, gated.steps) == (300 * (1 + WORLD_DOCUMENT_TOKENS), 300)
    assert gated.tokens - plain.tokens == 101 * 70 * WORLD_DOCUMENT_TOKENS
    assert gated.batches - plain.batches == 101 * 2
    assert gated.read == gated.tokens + gated.trained
    windows = recipe_of(source={"kind": "text", "path": "/nowhere", "block": 32, "continuation": 64}, gate=gate)
    without = workload(windows.model_copy(update={"gate": []}), 1).measure
    assert workload(windows, 1).measure.tokens - without.tokens == (windows.sample.count + 1) * 70 * 97


def test_as_many_generations_as_there_may_be_are_planned_at_once(recipe_of: RecipeMaker) -> None:
    """A growing pool is summed in one step. A walk over 10,000 generations took minutes."""
    recipe = recipe_of(generations=10_000, mix={"pool": "accumulate"})
    start = time.process_time()
    works = [workload(recipe, generation) for generation in range(recipe.generations + 1)]
    assert time.process_time() - start < 10
    assert works[-1].train.tokens > works[1].train.tokens
