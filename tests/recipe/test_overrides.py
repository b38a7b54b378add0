from __future__ import annotations

from collections.abc import Callable

import pytest

from autophage.recipe import LoadedRecipe

Load = Callable[..., LoadedRecipe]
Refuse = Callable[..., str]
NAME = 'name = "x"\n'
SWEPT = NAME + '[sweep]\n"mix.alpha" = [1.0, 0.5]\n'


def test_values_are_toml_or_plain_text(load: Load) -> None:
    loaded = load(
        NAME + "mix.alpha = 0.1\n",
        "mix.alpha=0.5",
        'measure.formats=["cloze"]',
        "train.chain=restart",
        "sample.temperature=1",
        "description=a = b # c",
        'train.schedule="cosine"',
        "control.enabled=false",
    )
    recipe = loaded.recipe
    assert (recipe.mix.alpha, recipe.measure.formats, recipe.train.chain) == (0.5, ["cloze"], "restart")
    assert (recipe.description, recipe.train.schedule, recipe.control.enabled) == ("a = b # c", "cosine", False)
    assert isinstance(recipe.sample.temperature, float)
    assert loaded.provenance["mix.alpha"] == "--set"


def test_the_last_override_of_a_key_counts_and_mends_a_wrong_file(load: Load) -> None:
    assert load(NAME + "mix.alpha = 7\n", "mix.alpha=9", "mix.alpha=0.25").recipe.mix.alpha == 0.25


@pytest.mark.parametrize("written", ["2024", "1.10", "true", "1979-05-27"])
def test_a_path_may_look_like_a_number(load: Load, written: str) -> None:
    path = load(NAME, "source.kind=text", f"source.path={written}").recipe.source.path
    assert path is not None
    assert path.endswith(f"/{written}")


def test_a_text_that_looks_like_a_number_is_not_guessed(refuse: Refuse) -> None:
    assert refuse(NAME, "name=2") == "\n".join(
        [
            "--set name=2: name = 2: an integer, not a string",
            "    did you mean --set 'name=\"2\"'?",
            '    name must be a string in quotes of 1 to 64 characters: letters, digits, ".", "_" and "-", '
            "the first a letter or a digit. Name of the run.",
        ]
    )


@pytest.mark.parametrize(
    ("override", "head", "remedy"),
    [
        ("mix.alpha=1.5", "mix.alpha = 1.5: too large", "a number from 0 to 1"),
        ("mix.alpha", "has no value", "write --set key=value"),
        ("mix.alhpa=1", "mix.alhpa: there is no such key", "did you mean mix.alpha?"),
        ("alpha=1", "alpha: there is no such key", "did you mean mix.alpha?"),
        ("mix=0.5", "mix is a table, not a key", "set one of its keys"),
        ("mix={alpha=0.5}", "mix is a table, not a key", "set one of its keys"),
        ("name.x=1", "name.x: there is no such key", "did you mean name"),
        ("=1", "'' is not a key", "write --set table.key=value"),
        ("a b=1", "'a b' is not a key", "write --set table.key=value"),
        (
            "measure.formats=[cloze]",
            'measure.formats = "[cloze]": a string, not a list',
            "--set 'measure.formats=[\"cloze\"]'",
        ),
        ("sweep.mix.alpha=[1, 3]", 'sweep."mix.alpha"[1] = 3: too large', "a number from 0 to 1"),
        ("sweep.alpha=[1]", "sweep.alpha: there is no such key", "did you mean mix.alpha?"),
        ("sweep=1", "sweep = 1: an integer, but sweep is a table", "write, for example"),
        ('train.chain=["restart"]', 'train.chain = ["restart"]: a list, not a string', '"restart"'),
    ],
)
def test_the_place_of_a_wrong_override_is_the_override(refuse: Refuse, override: str, head: str, remedy: str) -> None:
    message = refuse(NAME, override)
    assert message.startswith(f"--set {override}: {head}")
    assert remedy in message


def test_an_override_that_is_not_utf_8(refuse: Refuse) -> None:
    assert refuse(NAME, "description=\udcff") == "--set description=\\udcff: is not UTF-8 text"


@pytest.mark.parametrize(
    "override", ['sweep."mix.alpha"=[0.25, 0]', "sweep.mix.alpha=[0.25, 0]", "sweep={mix.alpha = [0.25, 0]}"]
)
def test_a_sweep_is_changed(load: Load, override: str) -> None:
    loaded = load(SWEPT, override)
    assert loaded.recipe.sweep == {"mix.alpha": [0.25, 0.0]}
    assert [arm.name for arm in loaded.arms] == ["alpha-0.25", "alpha-0.0"]
    assert loaded.provenance["sweep.mix.alpha"] == "--set"


def test_a_sweep_is_cleared(load: Load) -> None:
    loaded = load(SWEPT, "sweep={}", "mix.alpha=0.75")
    assert [(arm.name, arm.recipe.mix.alpha) for arm in loaded.arms] == [("main", 0.75), ("control", 0.0)]
    assert loaded.provenance["sweep"] == "--set"


def test_a_swept_key_cannot_be_set(refuse: Refuse) -> None:
    assert refuse(SWEPT, "mix.alpha=0.75") == "\n".join(
        [
            "--set mix.alpha=0.75: mix.alpha is swept (demo.toml:3), so the arms would not use this value",
            "    to give it this value only: --set 'sweep.mix.alpha=[0.75]'",
            "    to remove the sweep: --set 'sweep={}'",
        ]
    )


def test_a_table_that_is_none_in_the_file_is_the_fault(refuse: Refuse) -> None:
    assert refuse(NAME + "mix = 3\n", "mix.alpha=0.5").startswith(
        "demo.toml:2:7: mix = 3: an integer, but mix is a table"
    )
