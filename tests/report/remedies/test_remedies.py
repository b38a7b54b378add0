from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from autophage.cli import main
from autophage.metrics.retention import HARMS, HOLDS, NONE, PART
from autophage.recipe import load_recipe
from autophage.report import write_report
from autophage.report.facts.costs import Cost, Costs, arm_costs, costs_of
from autophage.report.facts.load import ArmFacts, RunFacts, load
from autophage.report.facts.series import Metrics
from autophage.report.figures.colours import styles
from autophage.report.remedies.front import front_figure
from autophage.report.remedies.outcomes import RemedyComparison, gathered, remedy_facts
from autophage.report.remedies.view import remedy_view, summary
from autophage.store.manifest import Manifest
from autophage.store.rundir import RunDirectory

MakeRun = Callable[..., RunDirectory]

RECIPE = """\
name = "x"
generations = 2
[sweep]
remedy = ["none", "half", "slow", "narrow", "idle"]
seed = [1, 2, 3]
[remedies.half]
mix.alpha = 0.5
[remedies.slow]
train.learning_rate = 1e-4
[remedies.narrow]
sample.top_p = 0.5
[remedies.idle]
mix.alpha = 0.99
"""
TORSO = {"none": 0.3, "half": 0.75, "slow": 0.5, "narrow": 0.1, "idle": 0.3, "control": 0.8, "control_slow": 0.82}
NOISE = {1: -0.02, 2: 0.0, 3: 0.02}
TOKENS = {"half": 1000, "slow": 1000, "narrow": 2000}


def facts(tmp_path: Path, recipe: str = RECIPE, last: int = 2) -> RunFacts:
    """Invented metrics. A seed moves all arms alike, and each a little by itself."""
    path = tmp_path / "x.toml"
    path.write_text(recipe, "utf-8")
    loaded = load_recipe(str(path))
    rows, arms = [], []
    for place, arm in enumerate(loaded.arms):
        name = str(arm.settings.get("remedy", "control"))
        torso = TORSO[f"control_{name}" if arm.added and name != "control" else name]
        own, other = 0.004 * math.sin(place + arm.recipe.seed), 0.004 * math.cos(3 * place + arm.recipe.seed)
        values = {
            "knowledge/accuracy.torso": torso + NOISE[arm.recipe.seed] + own,
            "knowledge/accuracy.tail": torso / 2 + NOISE[arm.recipe.seed] + other,
            "fluency/ppl_form": 1.2 / torso * (1 + own),
            "drift/kl_to_base": 0.0 if name == "half" else 0.25 + own,
        }
        for metric, value in values.items():
            for generation in range(last + 1):
                end = value if generation == last else 0.9
                row = {"arm": arm.name, "generation": generation, "metric": metric, "value": end}
                rows.append({**row, "low": None, "high": None, "n": 10})
        chain = [Manifest(arm.name, g, None, {}, {}, {}, {}, {}, "exact") for g in range(last + 1)]
        arms.append(ArmFacts(arm.name, arm.control, arm.recipe, chain, [""] * len(chain), arm.control_name))
    return RunFacts(loaded.recipe, "", arms, Metrics(rows), rows, [], {}, False)


def invented_costs(found: RunFacts) -> Costs:
    """Comparison at the last common generation. Later generations of one arm do not count."""
    costs: Costs = {}
    for arm in found.arms:
        remedy = arm.name.split("_")[0].removeprefix("remedy-")
        costs[arm.name, 2] = Cost(400, TOKENS.get(remedy, 1000) - 400, 0, {"train": 9.0})
    return {**costs, ("remedy-half_seed-1", 3): Cost(10**6)}


@pytest.fixture
def compared(tmp_path: Path) -> RemedyComparison:
    found = facts(tmp_path)
    result = gathered(found, invented_costs(found))
    assert result is not None
    return result


def test_verdicts_by_paired_differences(compared: RemedyComparison) -> None:
    assert {one.name: one.verdict for one in compared.outcomes} == {
        "half": HOLDS, "slow": PART, "idle": NONE, "narrow": HARMS
    }  # fmt: skip
    assert [one.name for one in compared.outcomes] == ["half", "slow", "idle", "narrow"]
    assert (compared.generation, compared.seeds, compared.naked.arm) == (2, 3, "remedy-none")
    half = compared.outcomes[0]
    assert [one.value for one in half.gains] == pytest.approx([0.45, 0.225, 0.3375], abs=0.01)
    assert half.arms == ("remedy-half_seed-1", "remedy-half_seed-2", "remedy-half_seed-3")
    assert [one.value for one in compared.lost] == pytest.approx([0.5, 0.25, 0.375], abs=0.01)


def test_each_is_held_against_its_own_control(compared: RemedyComparison) -> None:
    slow = compared.outcomes[1]
    assert slow.left[0].value == pytest.approx(0.32, abs=0.01)
    assert list(compared.controls) == ["control", "control_remedy-slow"]
    assert compared.controls["control_remedy-slow"]["knowledge/accuracy.torso"] == pytest.approx(0.82, abs=0.01)


def test_ratios_are_of_logarithms(compared: RemedyComparison) -> None:
    beside = compared.outcomes[0].metrics["fluency/ppl_form"]
    assert beside.ratio
    assert beside.naked is not None
    assert beside.naked.value == pytest.approx(math.log(0.3 / 0.75), abs=0.02)
    assert not compared.outcomes[0].metrics["knowledge/accuracy.torso"].ratio


def test_the_page_says_what_helps_and_what_does_not(compared: RemedyComparison) -> None:
    view = remedy_view(compared)
    assert [(row.name, row.cells[0].text, row.cells[0].look) for row in view.rows] == [
        ("naked loop", "", ""),
        ("half", HOLDS, "holds"),
        ("slow", PART, "part"),
        ("idle", NONE, ""),
        ("narrow", HARMS, "harms"),
        ("control", "human text alone", ""),
    ]
    assert view.columns == [
        "torso and tail", "below its control", "torso", "tail", "perplexity of form", "KL to base", "tokens", "time"
    ]  # fmt: skip
    assert all(len(row.cells) == 1 + len(view.columns) for row in view.rows)
    _, both, below, torso, *_ = view.rows[1].cells
    assert torso.text == "75%"
    assert torso.note.startswith("+45.")
    assert " \u00b1 " in torso.note
    assert torso.look == "beyond"
    assert "compared with its control" in torso.title
    assert "% of the naked loop's loss" in both.title
    assert float(below.text) == pytest.approx(3.75, abs=0.5)
    idle, narrow = view.rows[3].cells, view.rows[4].cells
    assert idle[3].look == "within"
    assert narrow[-2].note == "2.00 times"
    assert view.limits[-1] == "Token budgets that differ from the naked loop's: narrow (2.00 times)."
    drift = view.rows[1].cells[6]
    assert (drift.text, drift.note, drift.look) == ("0.00", "-0.25", "beyond"), "nats are no shares"
    (still,) = [text for text in view.limits if "still equals model 0" in text]
    assert still.startswith("half: the last model still equals model 0")
    assert summary(compared).endswith(
        "Of 4 remedies, 1 holds torso and tail (half), 1 holds part (slow), 1 shows no effect (idle) and 1 harms (narrow)."
    )


def test_the_front_leaves_out_what_is_beaten(compared: RemedyComparison) -> None:
    assert compared.best == ["half"]
    arms = [(one.arm, False) for one in (compared.naked, *compared.outcomes)]
    (figure,) = front_figure(compared, styles(arms))
    assert [panel.title for panel in figure.panels] == ["Against tokens", "Against time"]
    tokens = figure.panels[0]
    points = {trace["name"]: trace for trace in tokens.traces if trace.get("mode") == "markers"}
    assert list(points) == ["none", "half", "slow", "idle", "narrow"]
    assert points["narrow"]["x"] == [2000.0]
    names = [trace for trace in tokens.traces if trace.get("mode") == "lines+text"]
    heights = sorted(trace["y"][1] for trace in names)
    assert min(after - before for before, after in itertools.pairwise(heights)) >= 0.05 - 1e-9


def test_json_has_it_all(compared: RemedyComparison) -> None:
    found = remedy_facts(compared)
    assert found is not None
    text = json.dumps(found, allow_nan=False)
    assert json.loads(text)["outcomes"][0]["gains"][2]["n"] == 3
    assert found["pareto_front"] == ["half"]
    assert found["naked"]["verdict"] == ""


def test_one_seed_is_not_judged_by_its_luck(tmp_path: Path) -> None:
    found = facts(tmp_path, RECIPE.replace("seed = [1, 2, 3]\n", ""))
    result = gathered(found, invented_costs(found))
    assert result is not None
    assert {one.verdict for one in result.outcomes} == {NONE}
    nothing_shown, one_seed, *_ = remedy_view(result).limits
    assert nothing_shown.startswith("The naked loop shows no loss")
    assert one_seed.startswith("With one seed no effect can be shown")
    assert remedy_facts(result)["outcomes"][0]["gains"][0]["low"] is None  # type: ignore[index]


@pytest.mark.parametrize(
    ("recipe", "last"),
    [(RECIPE, 0), ('name = "x"\nseed = 1\n[sweep]\nseed = [1, 2]\n', 2), (RECIPE.replace('"none", ', ""), 2)],
)
def test_nothing_is_compared_without_a_generation_or_a_naked_loop(tmp_path: Path, recipe: str, last: int) -> None:
    found = facts(tmp_path, recipe, last)
    result = gathered(found, invented_costs(found))
    assert result is None
    assert remedy_view(result).rows == []
    assert front_figure(result, {}) == []


def test_another_swept_key_makes_rows_of_its_own(tmp_path: Path) -> None:
    found = facts(tmp_path, RECIPE.replace("[sweep]\n", '[sweep]\n"sample.count" = [50, 100]\n'))
    result = gathered(found, invented_costs(found))
    assert result is not None
    assert result.naked.name == "none, count-50"
    assert {one.name for one in result.outcomes if one.verdict == HOLDS} == {"half, count-50", "half, count-100"}
    assert result.outcomes[-1].name == "none, count-100"


def test_a_real_run_directory(make_run: MakeRun, world_recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = world_recipe.replace(
        '"mix.alpha" = [1.0, 0.5]', 'remedy = ["none", "half"]\n[remedies.half]\n"mix.alpha" = 0.5'
    )
    run = make_run(recipe=text.replace("count = 600", "count = 60"))
    costs = arm_costs(costs_of(run, load(run)))
    assert set(costs) == {"remedy-none", "remedy-half", "control"}
    naked = costs["remedy-none"]
    assert naked.sampled > 0
    assert naked.trained == 5 * 3 * 400
    assert set(naked.seconds) == {"train", "swap", "sample", "measure"}
    # The batch of all arms is divided among them, so that together they took its seconds and not three times as many.
    assert sum(cost.seconds["sample"] for cost in costs.values()) == pytest.approx(6 * 9.0)
    page = write_report(run).read_text("utf-8")
    assert 'id="remedies"' in page
    assert 'id="figure-front"' in page
    assert 'id="costs"' in page
    assert "Of 1 remedy, 1 shows no effect (half)." in page
    capsys.readouterr()
    assert main(["report", str(run.root), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["remedies"]["naked"]["arms"] == ["remedy-none"]
    assert told["costs"]["remedy-half"]["trained"] == naked.trained


def test_what_gates_anchors_and_editing_read_is_scored(make_run: MakeRun, world_recipe: str) -> None:
    text = world_recipe.replace(
        '"mix.alpha" = [1.0, 0.5]',
        'remedy = ["none", "anchored", "edited", "gated"]\n[remedies]\nanchored.anchor.kl = 1\n'
        'edited.mix.alpha = 0.25\nedited.mix.human_edit = 0.9\n[[remedies.gated.gate]]\nkind = "reward"\n',
    )
    run = make_run(recipe=text.replace("count = 600", "count = 60"))
    facts = load(run)
    judged = {"arm": "remedy-gated", "low": None, "high": None, "n": None}
    counts = {"gate/scored_tokens": 70.0, "speed/judge_tokens": 11.0}
    rows = facts.rows + [
        {**judged, "generation": generation, "metric": name, "value": value}
        for generation in range(6)
        for name, value in counts.items()
    ]
    read = arm_costs(costs_of(run, replace(facts, rows=rows, metrics=Metrics(rows))))
    trained = 5 * 3 * 400
    assert {name: cost.scored for name, cost in read.items()} == {
        "remedy-none": 0,
        "remedy-anchored": trained,
        "remedy-edited": trained / 4 * 0.75,
        "remedy-gated": 6 * (70 + 11),
        "control": 0,
        "control_remedy-anchored": trained,
    }


def test_a_run_without_remedies_has_no_such_section(world_run: RunDirectory) -> None:
    page = write_report(world_run).read_text("utf-8")
    assert 'id="remedies"' not in page
    assert 'id="costs"' in page
