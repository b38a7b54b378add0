"""Keys of small learners: those without effect, conflicts, and the shipped recipes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from autophage.errors import RecipeError
from autophage.recipe import LoadedRecipe, load_recipe
from autophage.recipe.keys import KEYS
from autophage.recipe.uses import USES, unused, used

Load = Callable[..., LoadedRecipe]
NAME = 'name = "x"\n'


def of(kind: str) -> str:
    return NAME + f'learner.kind = "{kind}"\n'


@pytest.mark.parametrize("kind", USES)
def test_the_keys_of_a_learner_exist_and_count(kind: str) -> None:
    assert used(kind) <= set(KEYS)
    assert not used(kind) & set(unused(kind))
    assert {"mix.alpha", "mix.pool", "seed", "sample.count"} <= used(kind)


@pytest.mark.parametrize(
    ("text", "override", "reason"),
    [
        (NAME, "learner.order=3", 'learner.kind is "language-model"'),
        (NAME, "learner.kind=gaussian", None),
        (of("gaussian"), "model.rank=8", 'learner.kind is "gaussian"'),
        (of("gaussian"), "train.learning_rate=0.1", 'learner.kind is "gaussian"'),
        (of("gaussian"), "sample.temperature=0.5", 'learner.kind is "gaussian"'),
        (of("gaussian"), "learner.order=3", 'learner.kind is "gaussian"'),
        (of("gaussian"), "learner.repetitions=3", None),
        (of("gaussian"), "mix.pool=accumulate", None),
        (of("vae"), "train.learning_rate=0.1", None),
        (of("vae"), "train.schedule=cosine", 'learner.kind is "vae"'),
        (of("vae"), "source.path=mnist", None),
        (of("mixture"), "train.chain=restart", None),
        (of("regression"), "train.chain=restart", 'learner.kind is "regression"'),
        (of("classifier"), "learner.noise=2.0", 'learner.kind is "classifier"'),
        (of("classifier"), "learner.keep_wrong=0.2", None),
        (of("ngram"), "source.path=x", 'source.kind is "world"'),
        (of("ngram"), "source.people=20", None),
        (of("ngram") + 'source.kind = "text"\nsource.path = "x"\n', "source.people=20", 'source.kind is not "world"'),
        (of("ngram"), "base.layers=2", 'learner.kind is "ngram"'),
        (of("ngram") + "mix.alpha = 0\n", "control.enabled=true", "every arm is trained on human data alone"),
    ],
)
def test_a_key_without_effect_is_a_warning(load: Load, text: str, override: str, reason: str | None) -> None:
    key = override.partition("=")[0]
    expected = [] if reason is None else [f"--set {override}: {key} has no effect: {reason}"]
    assert load(text, override).warnings == expected


def test_learners_of_one_run_are_of_one_kind(load: Load) -> None:
    with pytest.raises(RecipeError, match=r"learner\.kind is the same for all arms of a run"):
        load(NAME + 'sweep."learner.kind" = ["gaussian", "mixture"]\n')


def test_a_fit_needs_rows(load: Load) -> None:
    with pytest.raises(RecipeError, match="no finite expected error with fewer than 12 rows"):
        load(of("regression"), "sample.count=11")
    with pytest.raises(RecipeError, match="there is no variance with fewer than 2 rows"):
        load(of("gaussian"), "sample.count=1", "learner.components=30")
    with pytest.raises(RecipeError, match="cannot be fitted with fewer than 30 rows"):
        load(of("mixture"), "sample.count=29", "learner.components=30")
    assert load(of("regression"), "sample.count=12").arms


def test_a_verifier_that_keeps_nothing_is_refused(load: Load) -> None:
    with pytest.raises(RecipeError, match="the verifier keeps no label, so there is no training data"):
        load(of("classifier"), "learner.keep_right=0", "learner.keep_wrong=0")
    assert load(of("classifier"), "learner.keep_right=0").arms


def test_what_only_a_language_model_needs_is_not_asked_of_others(load: Load) -> None:
    assert load(of("gaussian"), "base.heads=7", "source.kind=text").arms
    with pytest.raises(RecipeError, match=r"needs source\.path"):
        load(of("ngram"), "source.kind=text")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("curse-gaussian", "gaussian"),
        ("curse-mixture", "mixture"),
        ("curse-vae", "vae"),
        ("curse-ngram", "ngram"),
        ("regression-accumulate", "regression"),
        ("verifier-breakdown", "classifier"),
    ],
)
def test_the_shipped_recipes_are_whole(name: str, kind: str) -> None:
    loaded = load_recipe(name)
    assert loaded.recipe.learner.kind == kind
    assert loaded.warnings == []
    assert any(arm.control for arm in loaded.arms)
    assert loaded.recipe.name == name
