from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autophage.errors import RecipeError
from autophage.recipe import LoadedRecipe, Recipe, describe_difference, load_recipe, read_resolved, resolved_toml
from autophage.recipe.load import DEFAULT
from autophage.recipe.resolved import flat, to_toml

Load = Callable[..., LoadedRecipe]
TEXT = 'name = "x"\n[mix]\nalpha = 0.5\n[sweep]\n"train.chain" = ["restart", "cumulative"]\n"seed" = [1, 2]\n'


def test_a_resolved_recipe_says_everything_and_where_from(load: Load) -> None:
    lines = resolved_toml(load(TEXT, "model.rank=8")).split("\n")
    words = [" ".join(line.split()) for line in lines]
    assert 'name = "x" # demo.toml:1' in words
    assert "alpha = 0.5 # demo.toml:3" in words
    assert "rank = 8 # --set" in words
    assert "generations = 5 # default" in words
    assert "# lora_alpha is left out # default" in words
    assert words[-4:] == [
        "[sweep]",
        '"train.chain" = ["restart", "cumulative"] # demo.toml:5',
        "seed = [1, 2] # demo.toml:6",
        "",
    ]
    document = tomllib.loads("\n".join(lines))
    dumped = load(TEXT, "model.rank=8").recipe.model_dump(exclude_none=True)
    assert {"gate": [], **document} == dumped


@pytest.mark.parametrize("text", [TEXT, 'name = "x"\n'])
def test_it_reads_back_and_loads_again(load: Load, text: str) -> None:
    loaded = load(text, "train.learning_rate=1e-5", "sample.max_tokens=3")
    Path("resolved.toml").write_text(resolved_toml(loaded))
    assert read_resolved(Path("resolved.toml")) == loaded.recipe
    again = load_recipe("resolved.toml")
    assert again.recipe == loaded.recipe
    assert again.arms == loaded.arms
    assert again.warnings == []


def test_a_key_without_effect_that_was_written_still_warns_in_a_resolved_recipe(load: Load) -> None:
    Path("resolved.toml").write_text(resolved_toml(load('name = "x"\nmodel.path = "gpt2"\nbase.layers = 2\n')))
    (warning,) = load_recipe("resolved.toml").warnings
    assert warning.endswith('base.layers has no effect: model.path is not "from-source"')


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
POSITIVE = st.floats(min_value=0, exclude_min=True, allow_nan=False, allow_infinity=False)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(TEXTS, TEXTS, TEXTS, POSITIVE, st.lists(TEXTS, min_size=1, max_size=3, unique=True))
def test_any_text_and_number_round_trips(
    tmp_path: Path, description: str, system: str, column: str, rate: float, swept: list[str]
) -> None:
    data = {"name": "x", "description": description, "sample": {"system": system}, "source": {"column": column}}
    recipe = Recipe.model_validate({**data, "train": {"learning_rate": rate}, "sweep": {"sample.system": swept}})
    path = tmp_path / "recipe.toml"
    path.write_text(to_toml(recipe, dict.fromkeys(flat(recipe), f"odd\nfile.toml:{DEFAULT}")), "utf-8", newline="")
    assert read_resolved(path) == recipe


def test_a_spoilt_resolved_recipe_is_refused_with_its_place(load: Load) -> None:
    Path("recipe.toml").write_text(resolved_toml(load(TEXT)).replace("alpha = 0.5", "alpha = 5.0"))
    with pytest.raises(RecipeError, match=r"^recipe\.toml:\d+:9: mix\.alpha = 5\.0: too large"):
        read_resolved("recipe.toml")
    with pytest.raises(RecipeError, match=r"^absent\.toml: cannot be read: No such file"):
        read_resolved("absent.toml")


def test_differences_are_told_key_by_key(load: Load) -> None:
    old = load(TEXT).recipe
    assert describe_difference(old, old) == []
    new = load(TEXT, "mix.alpha=1", "model.lora_alpha=3", "sweep={mix.pool=['replace']}").recipe
    assert describe_difference(old, new) == [
        "model.lora_alpha: left out -> 3.0",
        "mix.alpha: 0.5 -> 1.0",
        'sweep.train.chain: ["restart", "cumulative"] -> left out',
        "sweep.seed: [1, 2] -> left out",
        'sweep.mix.pool: left out -> ["replace"]',
    ]
