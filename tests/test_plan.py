"""The arithmetic of `plan`, checked by hand."""

from __future__ import annotations

import json

import pytest

from autophage.plan import BASE_TOKENS_PER_SECOND, START_UP_SECONDS, WORLD_DOCUMENT_WORDS, Speeds, plan, shape_of
from autophage.recipe.arms import expand
from autophage.recipe.schema import Recipe


def recipe_of(**tables):
    return Recipe.model_validate({"name": "tiny", "generations": 3, **tables})


def made(price=None, speeds=None, **tables):
    recipe = recipe_of(**tables)
    return plan(recipe, expand(recipe), speeds, price)


def test_tokens_of_an_arm():
    arm = made(sample={"count": 100}, train={"epochs": 2.0}).arms[0]
    assert arm.sampled == 4 * 100 * WORLD_DOCUMENT_WORDS  # generations 0 to 3
    assert arm.trained == 3 * 100 * 2 * WORLD_DOCUMENT_WORDS  # models 1 to 3
    human = 4 * (300 * 4 * (10 + 8 + 44) + 200 * WORLD_DOCUMENT_WORDS)
    assert arm.measured == human + 4 * arm.sampled  # by its own model, and by three for drift
    plain = made(sample={"count": 100}, measure={"drift": False}).arms[0]
    assert plain.measured == human + plain.sampled


def test_a_text_samples_to_its_limit_and_trains_on_the_mix():
    tables = {"source": {"kind": "text", "path": "/nowhere", "block": 32, "continuation": 64}}
    sample = {"count": 10, "max_tokens": 40}
    made_plan = made(**tables, sample=sample, mix={"alpha": 0.5}, train={"epochs": 1.0, "loss_on": "all"})
    arm = made_plan.arms[0]
    assert arm.sampled == 4 * 10 * 40
    assert arm.trained == 3 * 10 * (32 + 0.5 * 40 + 0.5 * 64)
    assert arm.measured is None
    assert any(line.startswith("measuring not counted") for line in made_plan.assumptions)


def test_held_out_text_is_counted_from_its_size(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("x" * 40_000, "utf-8")
    arm = made(source={"kind": "text", "path": str(path), "held_out": 0.1}).arms[0]
    assert arm.measured - 4 * arm.sampled == 4 * 1000


def test_an_accumulated_pool_grows():
    replaced, accumulated, drawn = (
        made(mix={"pool": pool}).arms[0].trained for pool in ("replace", "accumulate", "accumulate-subsample")
    )
    assert accumulated == replaced * (2 + 3 + 4) / 3  # the human data of before the loop and every mix so far
    assert drawn == replaced


def test_time_is_start_up_base_and_arms():
    total = made()
    arms = sum(arm.seconds for arm in total.arms)
    assert total.base_seconds == 1_000_000 / BASE_TOKENS_PER_SECOND
    assert total.seconds == pytest.approx(START_UP_SECONDS + total.base_seconds + arms)


def test_given_speeds_replace_the_guesses():
    arm = made(speeds=Speeds(sample=1000.0, train=500.0)).arms[0]
    assert arm.seconds == pytest.approx(arm.sampled / 1000 + arm.trained / 500 + arm.measured / 1000)


def test_a_base_model_that_arms_share_is_trained_once():
    one = made().base_seconds
    assert made(sweep={"mix.alpha": [1.0, 0.5]}).base_seconds == one
    assert made(sweep={"base.seed": [0, 1]}).base_seconds == 2 * one


def test_the_small_base_model_has_two_million_parameters():
    assert shape_of(recipe_of()).parameters == pytest.approx(2e6, rel=0.05)


def test_a_folder_is_read_and_a_name_is_guessed_from(tmp_path):
    """SmolLM2-135M: 134.5M parameters with tied embeddings, by its own configuration."""
    config = {
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "vocab_size": 49152,
        "tie_word_embeddings": True,
    }
    (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
    assert shape_of(recipe_of(model={"path": str(tmp_path)})).parameters == 134_515_008
    assert shape_of(recipe_of(model={"path": "someone/SmolLM2-135M"})).parameters == 135_000_000
    assert shape_of(recipe_of(model={"path": "someone/Model2.5-0.6B-Base"})).parameters == 600_000_000


def test_an_unknown_model_has_no_invented_time():
    unknown = made(model={"path": "someone/mystery"}, price=1.0)
    assert (unknown.seconds, unknown.memory_bytes, unknown.disk_bytes, unknown.cost) == (None, None, None, None)
    assert unknown.arms[0].sampled > 0
    assert "unknown" in unknown.parameters_from


def test_disk_is_corpora_and_adapters():
    arm = made(sample={"count": 100}, model={"rank": 8}).arms[0]
    adapter = 4 * 8 * 4 * (4 * 2 * 192 + 3 * 4 * 192)  # bytes, rank, layers, in + out of the seven linear layers
    assert arm.disk_bytes == pytest.approx(arm.sampled * 14 + 4 * adapter)


def test_cost():
    total = made(price=3600.0)
    assert total.cost == pytest.approx(total.seconds)


def test_a_larger_model_is_slower_than_the_reference_but_not_in_proportion_to_it():
    """0.6B parameters at 5e10 operations/s: 24 ms a sampled token on top of the 0.4 ms of the small model."""
    model, sample = {"path": "someone/Model-0.6B"}, {"count": 100}
    no_time = Speeds(train=1e30)
    large = made(model=model, sample=sample, speeds=no_time).arms[0]
    small = made(sample=sample, speeds=no_time).arms[0]
    assert small.seconds / small.sampled == pytest.approx(1 / 4500, rel=1e-3)
    assert large.seconds / large.sampled == pytest.approx(1 / 4500 + 0.024, rel=0.01)
