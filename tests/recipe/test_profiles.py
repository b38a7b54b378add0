from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from autophage.errors import RecipeError
from autophage.recipe import LoadedRecipe, load_recipe, resolved_toml
from autophage.recipe.paths import shipped_recipes

TWO = """\
name = "x"
profile = "tiny"

[sample]
count = 7
top_p = 0.9

[sweep]
"mix.alpha" = [1.0, 0.5]

[profiles.tiny]
generations = 2
[profiles.tiny.sample]
count = 3

[profiles.full]
generations = 9
[profiles.full.sample]
top_k = 4
[profiles.full.sweep]
seed = [1, 2]
"""

Chosen = Callable[..., LoadedRecipe]


@pytest.fixture
def chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Chosen:
    """Load a text as demo.toml with a profile and overrides."""
    monkeypatch.chdir(tmp_path)

    def load(text: str, profile: str | None = None, *overrides: str) -> LoadedRecipe:
        Path("demo.toml").write_text(text, "utf-8")
        return load_recipe("demo.toml", overrides, profile)

    return load


def test_the_named_profile_is_laid_over(chosen: Chosen) -> None:
    loaded = chosen(TWO)
    assert (loaded.recipe.profile, loaded.recipe.generations) == ("tiny", 2)
    assert (loaded.recipe.sample.count, loaded.recipe.sample.top_p) == (3, 0.9)
    assert loaded.provenance["sample.count"] == "demo.toml:14"
    assert loaded.provenance["sample.top_p"] == "demo.toml:6"
    assert loaded.recipe.sweep == {"mix.alpha": [1.0, 0.5]}


def test_another_profile_replaces_the_whole_sweep(chosen: Chosen) -> None:
    loaded = chosen(TWO, "full")
    assert loaded.recipe.sweep == {"seed": [1, 2]}
    assert (loaded.recipe.sample.count, loaded.recipe.sample.top_k) == (7, 4)
    assert loaded.provenance["sweep.seed"] == "demo.toml:21"


def test_overrides_come_after_the_profile(chosen: Chosen) -> None:
    assert chosen(TWO, "full", "sample.count=5").recipe.sample.count == 5


def test_faults_in_a_profile_have_their_places(chosen: Chosen) -> None:
    with pytest.raises(RecipeError, match=r"demo\.toml:14:9: sample\.count = 0"):
        chosen(TWO.replace("count = 3", "count = 0"))
    chosen(TWO.replace("count = 3", "count = 0"), "full")  # what is not chosen is not looked at
    with pytest.raises(RecipeError, match=r"there is twice|occurs twice"):
        chosen(TWO.replace("[1, 2]", "[1, 1]"), "full")


@pytest.mark.parametrize(
    ("text", "profile", "says"),
    [
        (TWO, "fulll", "did you mean full?"),
        (TWO, "zzz", "its profiles: tiny, full"),
        ('name = "x"\n', "tiny", "it has no profiles"),
        (TWO.replace('profile = "tiny"\n', ""), None, "no profile is chosen; the recipe has tiny, full"),
        ('name = "x"\nprofiles = 3\n', None, "a profile is a table"),
    ],
)
def test_what_is_refused(chosen: Chosen, text: str, profile: str | None, says: str) -> None:
    with pytest.raises(RecipeError) as caught:
        chosen(text, profile)
    assert says in str(caught.value)


def test_set_does_not_choose_a_profile(chosen: Chosen) -> None:
    with pytest.raises(RecipeError, match="write --profile full"):
        chosen(TWO, None, "profile=full")


def test_a_resolved_recipe_keeps_its_profile(chosen: Chosen, tmp_path: Path) -> None:
    loaded = chosen(TWO, "full")
    (tmp_path / "resolved.toml").write_text(resolved_toml(loaded), "utf-8")
    assert load_recipe("resolved.toml").recipe == loaded.recipe
    with pytest.raises(RecipeError, match="resolved recipe"):
        load_recipe("resolved.toml", profile="tiny")


@pytest.mark.parametrize(
    "name",
    ["knowledge-collapse", "knowledge-domain", "curse-of-recursion", "accumulate-or-replace", "rank-hides-collapse"],
)
@pytest.mark.parametrize("profile", ["tiny", "full"])
def test_shipped_profiles_are_whole(name: str, profile: str) -> None:
    assert name in shipped_recipes()
    loaded = load_recipe(name, profile=profile)
    assert loaded.warnings == []
    assert any(arm.control for arm in loaded.arms)
    assert len({arm.recipe.seed for arm in loaded.arms}) >= 3


@pytest.mark.parametrize("written", ["[]", "3", "{}"])
def test_a_profile_that_is_no_text_is_told_as_any_wrong_value(chosen: Chosen, written: str) -> None:
    for text in (TWO, 'name = "x"\nprofile = "tiny"\n'):
        with pytest.raises(RecipeError, match=r"demo.toml:2:11: profile = .* a string"):
            chosen(text.replace('"tiny"', written, 1))
