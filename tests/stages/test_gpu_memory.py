"""The division of a GPU between sampler and trainer, by the shape of the loaded model."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from autophage.errors import UserError
from autophage.recipe.arms import expand
from autophage.recipe.schema import Recipe
from autophage.sampler.arguments import engine_arguments
from autophage.sampler.protocol import EngineSettings
from autophage.stages import sizing

EIGHT = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "tie_word_embeddings": False,
}
TEXT = {"kind": "text", "path": "texts"}


def asked(monkeypatch: pytest.MonkeyPatch, gib: float, **tables: Any) -> tuple[float | None, bool]:
    monkeypatch.setattr(sizing, "device", lambda: torch.device("cuda"))
    monkeypatch.setattr(sizing, "device_memory", lambda: round(gib * 2**30))
    recipe = Recipe.model_validate({"name": "x", "source": TEXT, "model": {"path": "m", "dtype": "bfloat16"}, **tables})
    return sizing.sampler_memory(recipe, EIGHT, expand(recipe), 4)


def test_side_by_side_where_both_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    share, sleeps = asked(monkeypatch, 140.4)
    assert share is not None
    assert 0.2 < share < 0.8
    assert not sleeps


def test_the_sampler_sleeps_where_they_fit_in_turns_only(monkeypatch: pytest.MonkeyPatch) -> None:
    share, sleeps = asked(monkeypatch, 44, devices="serial")
    assert sleeps
    assert share is not None
    settings = EngineSettings("m", 1, 32, ("q_proj",), 128, 8, 1, 4, "bfloat16", "cuda", share, 1, True, sleeps=True)
    arguments = engine_arguments(settings)
    assert (arguments["enable_sleep_mode"], arguments["gpu_memory_utilization"]) == (True, share)


def test_what_does_not_fit_is_refused_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="These would fit"):
        asked(monkeypatch, 24, devices="colocated")


def test_the_recipe_has_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(monkeypatch, 24, sample={"memory": 0.3}) == (0.3, False)
