"""Sizes of models, from where they are known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.present import present

from autophage.plan.shape import configured_shape, shape_of, teacher_shape
from autophage.recipe.schema import Recipe


def recipe_of(**tables: object) -> Recipe:
    return Recipe.model_validate({"name": "tiny", **tables})


def test_the_small_base_model_has_two_million_parameters() -> None:
    assert present(shape_of(recipe_of())).parameters == pytest.approx(2e6, rel=0.05)


def test_a_teacher_counts_where_training_looks_at_it() -> None:
    named = {"reference": "someone/Teacher-7B"}
    assert present(teacher_shape(recipe_of(anchor={**named, "kl": 0.1}))).parameters == 7_000_000_000
    assert teacher_shape(recipe_of(anchor=named)) is None
    assert teacher_shape(recipe_of(anchor={"kl": 0.1})) is None


def test_a_folder_is_read_and_a_name_is_guessed_from(tmp_path: Path) -> None:
    """SmolLM2-135M has 134.5M parameters with tied embeddings, by its own configuration."""
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
    shape = present(shape_of(recipe_of(model={"path": str(tmp_path)})))
    assert (shape.parameters, shape.keys) == (134_515_008, 192)
    assert configured_shape({"text_config": config}) == shape
    assert configured_shape({"n_embd": 768}) is None
    assert present(shape_of(recipe_of(model={"path": "someone/SmolLM2-135M"}))).parameters == 135_000_000
    assert present(shape_of(recipe_of(model={"path": "someone/Model2.5-0.6B-Base"}))).parameters == 600_000_000
    assert shape_of(recipe_of(model={"path": "someone/mystery"})) is None
