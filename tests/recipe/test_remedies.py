from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from autophage.recipe import LoadedRecipe, describe_difference, load_recipe, read_resolved, resolved_toml

Load = Callable[..., LoadedRecipe]
Refuse = Callable[..., str]

TEXT = """\
name = "x"
[sweep]
remedy = ["none", "half", "restart", "narrow"]
seed = [1, 2]
[remedies.half]
mix.alpha = 0.5
[remedies.restart.train]
chain = "restart"
[remedies.narrow]
"sample.top_p" = 1
sample.temperature = 0.8
"""
NAME = 'name = "x"\n'
CHOSEN = 'name = "x"\nremedy = "half"\n'


def test_an_arm_has_its_remedy_laid_over_the_recipe(load: Load) -> None:
    arms = {arm.name: arm for arm in load(TEXT).arms if not arm.control}
    assert list(arms) == [
        f"remedy-{name}_seed-{seed}" for name in ("none", "half", "restart", "narrow") for seed in (1, 2)
    ]
    half, naked = arms["remedy-half_seed-2"].recipe, arms["remedy-none_seed-2"].recipe
    assert describe_difference(naked, half) == ['remedy: "none" -> "half"', "mix.alpha: 1.0 -> 0.5"]
    narrow = arms["remedy-narrow_seed-1"].recipe
    assert (narrow.sample.top_p, narrow.sample.temperature, narrow.seed) == (1.0, 0.8, 1)
    assert arms["remedy-restart_seed-1"].recipe.train.chain == "restart"
    assert not any(arm.recipe.remedies or arm.recipe.sweep for arm in arms.values())


def test_remedies_share_the_control_unless_they_train_otherwise(load: Load) -> None:
    loaded = load(TEXT)
    controls = {arm.name: arm.recipe for arm in loaded.arms if arm.control}
    assert list(controls) == [f"control{name}_seed-{seed}" for name in ("", "_remedy-restart") for seed in (1, 2)]
    twins = {arm.name: arm.control_name for arm in loaded.arms}
    for name in ("none", "half", "narrow"):
        assert twins[f"remedy-{name}_seed-2"] == "control_seed-2"
    assert twins["remedy-restart_seed-1"] == "control_remedy-restart_seed-1"
    assert twins["control_seed-1"] is None
    restart, plain = controls["control_remedy-restart_seed-1"], controls["control_seed-1"]
    assert describe_difference(plain, restart) == ['train.chain: "cumulative" -> "restart"']
    assert (plain.mix.alpha, plain.sample.temperature) == (0.0, 1.0)


def test_two_remedies_that_train_alike_share_a_control(load: Load) -> None:
    text = (
        NAME + 'sweep.remedy = ["a", "b"]\nremedies.a.model.rank = 4\nremedies.b = {model.rank = 4, mix.alpha = 0.5}\n'
    )
    arms = load(text).arms
    assert [(arm.name, arm.control_name) for arm in arms] == [
        ("remedy-a", "control_remedy-a"),
        ("remedy-b", "control_remedy-a"),
        ("control_remedy-a", None),
    ]


def test_a_remedy_of_the_whole_run(load: Load) -> None:
    arms = load(CHOSEN + "remedies.half.mix.alpha = 0.5\n").arms
    assert [(arm.name, arm.recipe.mix.alpha, arm.control_name) for arm in arms] == [
        ("main", 0.5, "control"),
        ("control", 0.0, None),
    ]


def test_full_weights_by_a_remedy_have_no_rank(load: Load) -> None:
    text = NAME + 'sweep.remedy = ["none", "full"]\nsweep."model.rank" = [4, 8]\nremedies.full.model.method = "full"\n'
    names = [arm.name for arm in load(text, "control.enabled=false").arms]
    assert names == ["remedy-none_rank-4", "remedy-none_rank-8", "remedy-full"]


def test_values_are_held_as_their_keys_hold_them(load: Load) -> None:
    loaded = load(CHOSEN + "[remedies.half]\nmix.alpha = 0\ntrain = {epochs = 3}\n")
    assert loaded.recipe.remedies == {"half": {"mix.alpha": 0.0, "train.epochs": 3.0}}
    assert all(isinstance(value, float) for value in loaded.recipe.remedies["half"].values())


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("remedies.half.mix.alpha=0.25", {"half": {"mix.alpha": 0.25}}),
        ("remedies.half.mix.pool=accumulate", {"half": {"mix.alpha": 0.5, "mix.pool": "accumulate"}}),
        ("remedies.half={mix.alpha = 0.1, train = {epochs = 1}}", {"half": {"mix.alpha": 0.1, "train.epochs": 1.0}}),
        ("remedies={half.mix.alpha = 0.7}", {"half": {"mix.alpha": 0.7}}),
    ],
)
def test_overrides(load: Load, override: str, expected: dict[str, dict[str, object]]) -> None:
    loaded = load(CHOSEN + "remedies.half.mix.alpha = 0.5\n", override)
    assert loaded.recipe.remedies == expected
    assert "--set" in loaded.provenance.values()


def test_it_is_resolved_and_reads_back(load: Load) -> None:
    loaded = load(TEXT, "remedies.half.mix.human=fixed")
    text = resolved_toml(loaded)
    words = [" ".join(line.split()) for line in text.split("\n")]
    assert words[words.index("[remedies.half]") :][:4] == [
        "[remedies.half]",
        '"mix.alpha" = 0.5 # demo.toml:6',
        '"mix.human" = "fixed" # --set',
        "",
    ]
    Path("resolved.toml").write_text(text)
    assert read_resolved(Path("resolved.toml")) == loaded.recipe
    assert load_recipe("resolved.toml").arms == loaded.arms


def test_a_profile_brings_its_own_remedies(load: Load, tmp_path: Path) -> None:
    text = (
        CHOSEN + 'profile = "small"\nremedies.half.mix.alpha = 0.5\n[profiles.small.remedies.half]\nmix.alpha = 0.75\n'
    )
    assert load(text).recipe.remedies == {"half": {"mix.alpha": 0.75}}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("remedies.half.mix.alpha = 1.5", "demo.toml:3:27: remedies.half.mix.alpha = 1.5: too large"),
        ("[remedies.half.mix]\nalhpa = 0.5", "demo.toml:4:1: remedies.half.mix.alhpa: there is no such key"),
        ("remedies.half.source.people = 5", "remedies.half.source.people: source.people is the same for all arms of a run"),
        ("remedies.half.devices = 'serial'", "devices is the same for all arms"),
        ("remedies.half.seed = 3", "seed is the same for all arms"),
        ("remedies.half.remedy = 'none'", "remedy is the same for all arms"),
        ("remedies.half.measure.documents = 5", "all remedies have the same measurements"),
        ("remedies.half = {}", "demo.toml:3:10: remedies.half: sets nothing"),
        ("remedies.half = 3", "demo.toml:3:10: remedies.half = 3: a remedy is a table of settings"),
        ("remedies.none.mix.alpha = 0.5", "none is reserved for the loop without a remedy"),
        ("remedies.'a b'.mix.alpha = 0.5", 'remedies."a b": not a name for a remedy'),
        ("remedies = 3", "demo.toml:3:12: remedies = 3: an integer, but remedies is a table"),
        ("remedies.half.mix.alpha = 0.5\nremedies.half.'mix.alpha' = 0.7", "remedies.half sets mix.alpha twice"),
        ("remedies.half.mix.alpha = 0.5\nsweep.'mix.alpha' = [1.0]", "mix.alpha is swept too (demo.toml:4)"),
        ("remedies.hlaf.mix.alpha = 0.5", 'demo.toml:2:10: remedy = "half": there is no [remedies.half]\n    did you mean hlaf?'),
        ("sweep.remedy = ['halv']\nremedies.half.mix.alpha = 0.5", "demo.toml:3:17"),
        ("remedies.half.train.optimizer = 'carried'\nremedies.half.train.chain = 'restart'", "demo.toml:3:33: train.optimizer"),
        ("[[remedies.half.mix]]\nalpha = 1", "demo.toml:3:17: mix is a table, not a key"),
    ],
)  # fmt: skip
def test_faults_stand_where_they_are_written(refuse: Refuse, text: str, told: str) -> None:
    assert told in refuse(CHOSEN + text + "\n")


def test_a_remedy_that_is_not_there_is_told_at_the_sweep(refuse: Refuse) -> None:
    assert refuse(NAME + 'sweep.remedy = ["none", "best"]\n').startswith('demo.toml:2:25: remedy = "best": there is no')


def test_what_has_no_effect_is_told(load: Load) -> None:
    text = (
        CHOSEN + "remedies.half.mix.alpha = 0.5\nremedies.half.train.loss_on = 'all'\nremedies.spare.mix.alpha = 0.3\n"
    )
    assert load(text).warnings == [
        "demo.toml:4: remedies.half.train.loss_on has no effect in its arms: prompts are the start token alone, "
        "so all choices are equal",
        'demo.toml:5: remedies.spare has no effect: no arm has remedy = "spare"',
    ]


def test_a_setting_that_only_its_control_would_have_has_no_effect(load: Load) -> None:
    (warning,) = load(CHOSEN + "remedies.half.mix.rare = 4\n").warnings
    assert warning.startswith("demo.toml:3: remedies.half.mix.rare has no effect in its arms")


def test_no_credential_hides_in_a_remedy(refuse: Refuse) -> None:
    token = "hf_" + "a1B2" * 9
    assert "remedies.half.sample.system" in refuse(CHOSEN + f'remedies.half.sample.system = "{token}"\n')
