"""The division of a GPU between sampler and trainer, by the shape of the loaded model."""

from __future__ import annotations

from typing import Any

import pytest

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


def asked(gib: float, **tables: Any) -> tuple[float | None, bool]:
    recipe = Recipe.model_validate({"name": "x", "source": TEXT, "model": {"path": "m", "dtype": "bfloat16"}, **tables})
    return sizing.sampler_memory(recipe, EIGHT, expand(recipe), 4, round(gib * 2**30))


def test_side_by_side_where_both_fit() -> None:
    share, sleeps = asked(140.4)
    assert share is not None
    assert 0.2 < share < 0.8
    assert not sleeps


def test_the_sampler_sleeps_where_they_fit_in_turns_only() -> None:
    share, sleeps = asked(44, devices="serial")
    assert sleeps
    assert share is not None
    settings = EngineSettings("m", 1, 32, ("q_proj",), 128, 8, 1, 4, "bfloat16", "cuda", share, 1, True, sleeps=True)
    arguments = engine_arguments(settings)
    assert (arguments["enable_sleep_mode"], arguments["gpu_memory_utilization"]) == (True, share)


def test_what_does_not_fit_is_refused_before_anything_starts() -> None:
    with pytest.raises(UserError, match="These would fit"):
        asked(24, devices="colocated")


def test_the_recipe_has_the_last_word() -> None:
    assert asked(24, sample={"memory": 0.3}) == (0.3, False)


def test_cells_that_share_a_gpu_divide_its_memory() -> None:
    alone, _ = asked(140.4)
    shares = [asked(140.4, devices="colocated", cluster={"cells_per_gpu": number})[0] for number in (1, 2)]
    assert alone == shares[0]
    assert None not in shares
    assert shares[1] is not None
    assert 2 * shares[1] < 1
    with pytest.raises(UserError, match=r"this GPU has 17\.5 GiB"):
        asked(140.4, devices="colocated", cluster={"cells_per_gpu": 8})


def test_a_model_of_unknown_shape_has_the_usual_share_of_its_part() -> None:
    recipe = Recipe.model_validate({"name": "x", "devices": "disjoint", "cluster": {"cells_per_gpu": 4}})
    share, _ = sizing.sampler_memory(recipe, {}, expand(recipe), 4, 1 << 34)
    assert share == pytest.approx(0.88 / 4)


@pytest.mark.parametrize(("devices", "most"), [("colocated", 0.96), ("disjoint", 0.96), ("serial", 0.96)])
def test_the_trainers_of_a_gpu_stay_in_their_parts(devices: str, most: float) -> None:
    tables = {"source": TEXT, "model": {"path": "m", "dtype": "bfloat16"}, "cluster": {"cells_per_gpu": 2}}
    recipe = Recipe.model_validate({"name": "x", "devices": devices, **tables})
    division = sizing.division_of(recipe, EIGHT, expand(recipe), 4, round(140.4 * 2**30))
    assert division is not None
    limit = sizing.trainer_limit(recipe, division)
    assert limit is not None
    needed = division.trainer.total / (140.4 * 2**30)
    assert needed <= limit
    if devices == "colocated":
        assert 2 * (limit + division.share / 2) == pytest.approx(most)
    alone = recipe.model_copy(update={"cluster": recipe.cluster.model_copy(update={"cells_per_gpu": 1})})
    assert sizing.trainer_limit(alone, division) is None
