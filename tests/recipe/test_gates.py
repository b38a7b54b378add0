"""`[[gate]]` tables: the class of a kind, and messages about wrong tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from autophage.recipe import LoadedRecipe, Recipe, describe_difference, read_resolved, resolved_toml
from autophage.recipe.arms import with_values
from autophage.recipe.batching import streaming
from autophage.recipe.tables.gate import GROUP, installed_gates

BUILT_IN = ["attribution", "detector", "entailment", "gain", "novelty", "quality", "reward", "surprise", "verifier"]
TWO = 'name = "t"\n[[gate]]\nkind = "verifier"\nkeep_wrong = 0.25\n[[gate]]\nkind = "novelty"\n'

Load = Callable[..., LoadedRecipe]
Refuse = Callable[..., str]


def test_the_built_in_gates_are_found_as_plug_ins_are() -> None:
    assert set(BUILT_IN) <= set(installed_gates())


def test_gates_come_in_order_with_their_own_settings(load: Load) -> None:
    gates = load(TWO).recipe.gate
    assert [gate.kind for gate in gates] == ["verifier", "novelty"]
    assert [gate.model_dump()["keep_wrong"] for gate in gates[:1]] == [0.25]
    assert all(arm.recipe.gate == gates for arm in load(TWO).arms)


def test_a_recipe_with_gates_survives_json_and_other_values(load: Load) -> None:
    recipe = load(TWO).recipe
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
    assert with_values(recipe, {"mix.alpha": 0.5}).gate == recipe.gate


def test_a_resolved_recipe_has_every_setting_and_reads_back(load: Load, tmp_path: Path) -> None:
    loaded = load(TWO)
    text = resolved_toml(loaded)
    assert "keep_wrong = 0.25                                 # demo.toml:4" in text
    assert "keep_right = 1.0                                  # default" in text
    (tmp_path / "resolved.toml").write_text(text)
    assert read_resolved(tmp_path / "resolved.toml") == loaded.recipe


def test_the_difference_of_two_recipes_names_the_gates_key(load: Load) -> None:
    other = load(TWO.replace("0.25", "0.5")).recipe
    assert describe_difference(load(TWO).recipe, other) == ["gate.0.keep_wrong: 0.25 -> 0.5"]


def test_set_replaces_all_gates(load: Load, refuse: Refuse) -> None:
    loaded = load(TWO, 'gate=[{kind = "surprise", keep = 0.3}]')
    assert [gate.kind for gate in loaded.recipe.gate] == ["surprise"]
    assert loaded.provenance["gate.0.keep"] == "--set"
    assert load(TWO, "gate=[]").recipe.gate == []
    assert "gates are set all together" in refuse(TWO, "gate.novelty.distance=0.5")
    assert '--set gate=[{kind = "surprise", keep = 3}]: gate.keep = 3: too large' in refuse(
        TWO, 'gate=[{kind = "surprise", keep = 3}]'
    )


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ('[[gate]]\nkind = "verfier"', 'demo.toml:3:8: gate.kind = "verfier": no installed package offers this gate'),
        ('[[gate]]\nkind = "verfier"', 'did you mean "verifier"?'),
        ('[[gate]]\nkind = "verfier"', "installed gates: attribution, "),
        ("[[gate]]\nkind = 3", "gate.kind = 3: not a string"),
        ("[[gate]]\nkeep = 3", "demo.toml:2:3: gate.kind is missing"),
        ('[gate]\nkind = "verifier"', "gate is a list of tables, and one pair of brackets makes a single table"),
        ("gate = 3", "gate is a list of tables, and this is another value"),
        ('[[gates]]\nkind = "verifier"', "did you mean [[gate]]?"),
        (
            '[[gate]]\nkind = "surprise"\nkeep = 1.5',
            "demo.toml:4:8: gate.keep = 1.5: too large\n    gate.keep must be a number",
        ),
        (
            '[[gate]]\nkind = "surprise"\nkep = 0.5',
            "demo.toml:4:1: gate.kep: there is no such key\n    did you mean keep?",
        ),
        ('[[gate]]\nkind = "surprise"\nkep = 0.5', "this [[gate]] has: kind, model, keep, under"),
        ('[[gate]]\nkind = "surprise"\nunder = "bass"', 'did you mean "base"?'),
        ('[[gate]]\nkind = "verifier"\ncheck = "regex"', 'check = "regex" needs a pattern'),
        ('[[gate]]\nkind = "verifier"\ncheck = "judge"', 'check = "judge" needs a server'),
        ('[[gate]]\nkind = "verifier"\ncheck = "exact"', 'check = "exact" needs answers'),
        ("[[gate]]\nkind = \"verifier\"\npattern = '('", "not a regular expression"),
        (
            '[[gate]]\nkind = "reward"\nthresholds = [0.9, 0.5]',
            "thresholds must not fall from one generation to the next",
        ),
        ('[[gate]]\nkind = "reward"\nthresholds = 0.9', "gate.thresholds must be a list of one or more numbers"),
        ('[[gate]]\nkind = "reward"\nreward = "model"', 'reward = "model" needs a model'),
        ('[sweep]\n"gate.keep" = [1, 2]', "gates are a list of tables"),
    ],
)
def test_a_wrong_gate_is_told_with_its_place(refuse: Refuse, written: str, said: str) -> None:
    assert said in refuse(f'name = "t"\n{written}\n')


def test_a_gate_that_does_not_go_with_the_source_is_told(refuse: Refuse) -> None:
    text = '[source]\nkind = "text"\npath = "x"\n[[gate]]\nkind = '
    for kind, said in (
        ("verifier", "the source is not a world"),
        ("entailment", "a text needs an entailment model"),
    ):
        assert said in refuse(f'name = "t"\n{text}"{kind}"\n')


def test_what_gates_change_is_inert_without_them(load: Load) -> None:
    assert load('name = "t"\n[mix]\nshort = "repeat"\n').warnings == [
        "demo.toml:3: mix.short has no effect: no gate judges the samples"
    ]
    assert load(TWO.replace('"t"\n', '"t"\nmix.short = "repeat"\n')).warnings == []
    told = load(TWO + '[learner]\nkind = "gaussian"\n').warnings
    assert 'demo.toml:2: [[gate]] has no effect: learner.kind is "gaussian"' in told


def test_paths_of_gates_are_relative_to_the_recipe(load: Load, tmp_path: Path) -> None:
    (tmp_path / "answers.jsonl").write_text(json.dumps({"prompt": "a", "answer": "b"}))
    (gate,) = load('name = "t"\n[[gate]]\nkind = "verifier"\ncheck = "exact"\nanswers = "answers.jsonl"\n').recipe.gate
    assert gate.model_dump()["answers"] == str(tmp_path / "answers.jsonl")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "import no_such_module",
            "odd_offers:Odd of odd-offers cannot be imported: ModuleNotFoundError: No module named",
        ),
        ("raise SystemError('out of cheese')", "cannot be imported: SystemError: out of cheese"),
        ("", "cannot be imported: AttributeError"),
        (
            "class Odd: pass",
            "odd_offers:Odd of odd-offers is not a gate: a gate is a subclass of autophage.gates.Gate",
        ),
    ],
)
def test_a_plug_in_that_is_broken_is_named(refuse: Refuse, offer: Callable[..., None], code: str, said: str) -> None:
    offer(GROUP, ("odd", "odd_offers:Odd"), code=code)
    message = refuse('name = "t"\n[[gate]]\nkind = "odd"\n')
    assert said in message
    assert "Traceback" not in message


def test_an_arm_with_gates_is_not_trained_on_a_corpus_that_is_being_written(load: Load) -> None:
    text = 'name = "t"\n[sample]\ncount = 600\nconcurrency = 64\n'
    assert streaming(load(text).arms) == ["main", "control"]
    assert streaming(load(text + '[[gate]]\nkind = "novelty"\n').arms) == []
