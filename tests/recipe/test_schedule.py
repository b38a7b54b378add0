from __future__ import annotations

from collections.abc import Callable

import pytest

from autophage.recipe import LoadedRecipe
from autophage.recipe.schedule import alpha_of, alpha_words, is_always, pool_alpha
from autophage.recipe.schema import Recipe
from autophage.recipe.tables.mix import MixTable

Load = Callable[..., LoadedRecipe]
NAME = 'name = "x"\n'


@pytest.mark.parametrize(
    ("mix", "expected", "words"),
    [
        (MixTable(alpha=0.3), [0.3] * 5, "0.3"),
        (MixTable(alpha=0.0, schedule="decay"), [0.0, 0.25, 0.5, 0.75, 1.0], "0 to 1, decay"),
        (MixTable(alpha=0.5, schedule="decay", alpha_final=0.7), [0.5, 0.55, 0.6, 0.65, 0.7], "0.5 to 0.7, decay"),
        (MixTable(schedule="last-chance"), [1.0, 1.0, 1.0, 1.0, 0.0], "1 to 0, last-chance"),
        (MixTable(alpha=0.9, schedule="last-chance", alpha_final=0.5), [0.9] * 4 + [0.5], "0.9 to 0.5, last-chance"),
    ],
)
def test_the_fraction_of_each_mix(mix: MixTable, expected: list[float], words: str) -> None:
    recipe = Recipe(name="x", generations=5, mix=mix)
    assert [alpha_of(recipe, generation) for generation in range(5)] == pytest.approx(expected)
    assert alpha_words(recipe) == words


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        ("replace", [0.0, 0.5, 1.0]),
        ("accumulate", [0.0, 0.5 / 3, 1.5 / 4]),
        ("accumulate-subsample", [0.0, 0.5 / 3, 1.5 / 4]),
    ],
)
def test_an_accumulated_pool_has_the_human_text_of_before_the_loop(pool: str, expected: list[float]) -> None:
    mix = MixTable.model_validate({"alpha": 0.0, "schedule": "decay", "pool": pool})
    recipe = Recipe(name="x", generations=3, mix=mix)
    assert [pool_alpha(recipe, model) for model in (1, 2, 3)] == pytest.approx(expected)


def test_a_single_generation_has_the_first_fraction_or_the_last_chance() -> None:
    assert alpha_of(Recipe(name="x", generations=1, mix=MixTable(alpha=0.2, schedule="decay")), 0) == 0.2
    assert alpha_of(Recipe(name="x", generations=1, mix=MixTable(schedule="last-chance")), 0) == 0.0


def test_a_decay_from_nothing_is_no_control(load: Load) -> None:
    arms = load(NAME + 'mix = {alpha = 0, schedule = "decay"}\n').arms
    assert [(arm.name, arm.control, alpha_words(arm.recipe)) for arm in arms] == [
        ("main", False, "0 to 1, decay"),
        ("control", True, "0"),
    ]
    assert is_always(arms[1].recipe, 0.0)


def test_schedules_share_one_control(load: Load) -> None:
    arms = load(NAME + 'mix.alpha = 0.5\nsweep.mix.schedule = ["constant", "decay", "last-chance"]\n').arms
    assert [arm.name for arm in arms if arm.control] == ["control"]
    assert {arm.control_name for arm in arms if not arm.control} == {"control"}


@pytest.mark.parametrize(
    ("mix", "told"),
    [
        ('{schedule = "decay"}', "must rise from mix.alpha = 1, but alpha_final is 1"),
        ('{alpha = 0.5, schedule = "decay", alpha_final = 0.2}', "alpha_final is 0.2"),
        ('{alpha = 0, schedule = "last-chance"}', "must fall from mix.alpha = 0, but alpha_final is 0"),
    ],
)
def test_a_schedule_that_goes_nowhere_is_refused(refuse: Callable[..., str], mix: str, told: str) -> None:
    assert told in refuse(NAME + f"mix = {mix}\n")


def test_what_schedules_leave_without_effect(load: Load) -> None:
    (warning,) = load(NAME + "mix.alpha_final = 0.5\n").warnings
    assert 'mix.alpha_final has no effect: mix.schedule is "constant"' in warning
    (warning,) = load(NAME + "mix.rare = 3\ncontrol.enabled = false\n").warnings
    assert "mix.rare has no effect" in warning
