"""Remedies with gates, anchors and makers: their arms, their controls, and locations of faults."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from autophage.recipe import LoadedRecipe, Recipe, describe_difference, load_recipe, read_resolved, resolved_toml

pytestmark = pytest.mark.thorough

Load = Callable[..., LoadedRecipe]
Refuse = Callable[..., str]

TEXT = """\
name = "x"
sample.oversample = 2
[[gate]]
kind = "surprise"
[sweep]
remedy = ["none", "right", "written", "near", "distilled", "ungated"]
[remedies.right]
gate = [{kind = "verifier", keep_wrong = 0}, {kind = "novelty"}]
mix.short = "repeat"
[[remedies.written.gate]]
kind = "entailment"
threshold = 0.5
[[remedies.written.gate]]
kind = "attribution"
[remedies.near.anchor]
kl = 1
[remedies.distilled]
anchor = {objective = "distill", trust = 3}
mix.human_edit = 0.99
mix.alpha = 0.5
[remedies.ungated]
gate = []
"""
HEAD = 'name = "x"\nremedy = "a"\n'
MADE = 'model.path = "owner/name"\nsource = {kind = "text", path = "text.txt"}\n'


def kinds(recipe: Recipe) -> list[str]:
    return [gate.kind for gate in recipe.gate]


def test_a_bundles_gates_replace_the_recipes(load: Load) -> None:
    arms = {str(arm.settings["remedy"]): arm.recipe for arm in load(TEXT).arms if not arm.control}
    assert {name: kinds(recipe) for name, recipe in arms.items()} == {
        "none": ["surprise"],
        "right": ["verifier", "novelty"],
        "written": ["entailment", "attribution"],
        "near": ["surprise"],
        "distilled": ["surprise"],
        "ungated": [],
    }
    assert arms["right"].gate[0].model_dump()["keep_wrong"] == 0.0
    assert arms["written"].gate[0].model_dump()["threshold"] == 0.5
    assert (arms["near"].anchor.kl, arms["distilled"].anchor.trust) == (1.0, 3.0)


def test_only_what_acts_on_human_text_asks_for_a_control_of_its_own(load: Load) -> None:
    arms = {arm.name: arm for arm in load(TEXT).arms}
    twins = {name: arm.control_name for name, arm in arms.items() if not arm.control}
    assert twins.pop("remedy-near") == "control_remedy-near"
    assert set(twins.values()) == {"control"}
    assert describe_difference(arms["control"].recipe, arms["control_remedy-near"].recipe) == ["anchor.kl: 0.0 -> 1.0"]
    assert arms["control"].recipe.mix.human_edit is None


def test_it_is_resolved_and_reads_back(load: Load) -> None:
    loaded = load(TEXT)
    text = resolved_toml(loaded)
    words = [" ".join(line.split()) for line in text.split("\n")]
    assert 'gate = [{kind = "verifier", keep_wrong = 0.0}, {kind = "novelty"}] # demo.toml:8' in words
    assert 'gate = [{kind = "entailment", threshold = 0.5}, {kind = "attribution"}] # demo.toml:10' in words
    Path("resolved.toml").write_text(text)
    assert read_resolved("resolved.toml") == loaded.recipe
    assert load_recipe("resolved.toml").arms == loaded.arms
    assert Recipe.model_validate_json(loaded.recipe.model_dump_json()) == loaded.recipe


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ('remedies.a.gate=[{kind = "surprise", keep = 0.3}]', [{"kind": "surprise", "keep": 0.3}]),
        ('remedies.a={gate = [{kind = "novelty"}], mix.short = "human"}', [{"kind": "novelty"}]),
        ('remedies={a.gate = [{kind = "novelty"}]}', [{"kind": "novelty"}]),
        ("remedies.a.gate=[]", []),
        ("remedies.a.anchor.kl=0.5", [{"kind": "verifier"}]),
    ],
)
def test_overrides(load: Load, override: str, expected: list[dict[str, object]]) -> None:
    loaded = load(HEAD + 'remedies.a.gate = [{kind = "verifier"}]\n', override)
    assert loaded.recipe.remedies["a"]["gate"] == expected
    assert kinds(loaded.arms[0].recipe) == [gate["kind"] for gate in expected]
    assert loaded.provenance["remedies.a.gate"] == ("demo.toml:3" if "anchor" in override else "--set")


def test_gates_of_a_bundle_are_set_all_together(refuse: Refuse) -> None:
    told = refuse(HEAD + 'remedies.a.gate = [{kind = "verifier"}]\n', "remedies.a.gate.verifier.keep_wrong=0.5")
    assert "gates are set all together" in told
    assert "--set 'remedies.a.gate=[{" in told
    told = refuse(HEAD + "remedies.a.mix.alpha = 0.5\n", 'remedies.a.gate=[{kind = "surprise", keep = 3}]')
    assert '--set remedies.a.gate=[{kind = "surprise", keep = 3}]: gate.keep = 3: too large' in told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "remedies.a.gate = [{kind = 'novelty'}, {kind = 'verfier'}]",
            'demo.toml:3:48: gate.kind = "verfier": no installed',
        ),
        ("remedies.a.gate = [{kind = 'verfier'}]", 'did you mean "verifier"?'),
        ("[remedies.a]\ngate = [{kind = 'surprise', keep = 1.5}]", "demo.toml:4:36: gate.keep = 1.5: too large"),
        (
            "[[remedies.a.gate]]\nkind = 'novelty'\n[[remedies.a.gate]]\nkind = 'surprise'\nkeeep = 1",
            "demo.toml:7:1: gate.keeep: there is no such key\n    did you mean keep?",
        ),
        (
            "remedies.a.gate = {kind = 'novelty'}",
            "demo.toml:3:12: gate is a list of tables, and one pair of brackets makes a single table",
        ),
        ("[remedies.a.gate]\nkind = 'novelty'", "demo.toml:3:13: gate is a list of tables"),
        ("remedies.a.gate = 3", "gate is a list of tables, and this is another value"),
        ("remedies.a.gates = [{kind = 'novelty'}]", "remedies.a.gates: there is no such key"),
        ("[remedies.a]\nanchor.kl = -1", "demo.toml:4:13: remedies.a.anchor.kl = -1: too small"),
        (
            "[remedies.a.anchor]\ndirecton = 'reverse'",
            "demo.toml:4:1: remedies.a.anchor.directon: there is no such key",
        ),
        ("[remedies.a]\nmaker.kind = 'self-edt'", 'demo.toml:4:14: maker.kind = "self-edt"'),
        ("[remedies.a]\nmaker.kind = 'self-edit'", "needs passages of a text"),
        ("[remedies.a]\nmaker = {templates = ['no place']}", "demo.toml:4:22: remedies.a.maker.templates"),
        (
            "[remedies.a]\ngate = [{kind = 'verifier', check = 'regex'}]",
            'demo.toml:4:17: gate.kind = "verifier": check = "regex" needs a pattern',
        ),
        ("remedies.a.anchor.kl = 1\nsweep.'anchor.kl' = [1.0]", "anchor.kl is swept too (demo.toml:4)"),
    ],
)
def test_faults_stand_where_they_are_written(refuse: Refuse, text: str, told: str) -> None:
    assert told in refuse(HEAD + text + "\n")


def test_a_conflict_of_a_bundles_gate_names_its_arm(refuse: Refuse) -> None:
    gates = '[{kind = "novelty"}, {kind = "verifier", check = "regex"}]'
    text = f'name = "x"\nsweep.remedy = ["none", "a"]\nremedies.a.gate = {gates}\n'
    assert refuse(text).startswith(
        'demo.toml:3:48: gate.kind = "verifier": check = "regex" needs a pattern (in arm remedy-a)'
    )


def test_makers_of_remedies_write_their_own_arms_prompts(load: Load) -> None:
    Path("text.txt").write_text("some text")
    text = HEAD.replace('remedy = "a"', 'sweep.remedy = ["none", "a"]') + MADE
    loaded = load(text + "[remedies.a]\nmaker = {kind = 'self-edit', edits = 3}\ngate = [{kind = 'consistency'}]\n")
    assert loaded.warnings == []
    own, naked = (next(arm.recipe for arm in loaded.arms if arm.name == f"remedy-{name}") for name in ("a", "none"))
    assert (own.maker.kind, own.maker.edits, naked.maker.kind) == ("self-edit", 3, "none")
    assert (kinds(own), kinds(naked)) == (["consistency"], [])


def test_paths_in_a_bundle_are_relative_to_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "recipes"
    (folder / "teacher").mkdir(parents=True)
    (folder / "judge").mkdir()
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    (folder / "r.toml").write_text(
        'name = "x"\nremedy = "a"\n[remedies.a]\nanchor = {kl = 1, reference = "teacher"}\n'
        'gate = [{kind = "quality", model = "judge"}, {kind = "quality", model = "owner/name"}]\n'
    )
    bundle = load_recipe("recipes/r.toml").recipe.remedies["a"]
    assert bundle["anchor.reference"] == str(folder / "teacher")
    assert [gate["model"] for gate in bundle["gate"]] == [str(folder / "judge"), "owner/name"]
    over = load_recipe("recipes/r.toml", ["remedies.a.anchor.reference=other"]).recipe.remedies["a"]
    assert over["anchor.reference"] == str(tmp_path / "other")


def test_what_has_no_effect_is_told(load: Load) -> None:
    assert load(HEAD + "remedies.a.mix.alpha = 0.5\nremedies.a.mix.short = 'human'\n").warnings == [
        "demo.toml:4: remedies.a.mix.short has no effect in its arms: no gate judges the samples"
    ]
    assert load(HEAD + "remedies.a.gate = [{kind = 'novelty'}]\nremedies.a.mix.short = 'human'\n").warnings == []
    assert load(HEAD + "remedies.a.anchor.outliers = 'mask'\nremedies.a.anchor.kl = 1\n").warnings == [
        'demo.toml:3: remedies.a.anchor.outliers has no effect in its arms: anchor.objective is not "distill"'
    ]
    assert load(HEAD + "learner.kind = 'gaussian'\nremedies.a.gate = [{kind = 'novelty'}]\n").warnings == [
        'demo.toml:4: remedies.a.gate has no effect in its arms: learner.kind is "gaussian"'
    ]


def test_human_text_in_the_place_of_rejected_samples_is_drawn_as_the_recipe_says(load: Load) -> None:
    """`mix.rare` and `mix.human` have an effect with alpha = 1 if human text fills the gaps of gates."""
    text = HEAD + "control.enabled = false\nremedies.a.mix = {rare = 4, human = 'fixed', short = 'human'}\n"
    assert load(text + "remedies.a.gate = [{kind = 'novelty'}]\n").warnings == []
    assert "mix.rare has no effect" in load(text).warnings[0]


def test_a_schedule_that_ends_in_synthetic_text_has_something_to_distil_on(load: Load) -> None:
    text = HEAD + "[remedies.a]\nmix = {alpha = 0, schedule = 'decay'}\nanchor = {objective = 'distill', trust = 2}\n"
    loaded = load(text)
    assert loaded.warnings == []
    assert loaded.arms[0].recipe.refers
    assert not next(arm for arm in loaded.arms if arm.control).recipe.refers


def test_no_credential_hides_in_a_bundles_gate(refuse: Refuse) -> None:
    token = "hf_" + "a1B2" * 9
    told = refuse(HEAD + f"remedies.a.gate = [{{kind = 'quality', model = '{token}'}}]\n")
    assert "remedies.a.gate contains" in told
    assert token not in told
