from __future__ import annotations

import math
from pathlib import Path

import pytest
from scipy.special import stdtrit

from autophage.recipe import load_recipe
from autophage.report.facts.load import ArmFacts, RunFacts
from autophage.report.facts.pooling import pooled, pools
from autophage.report.facts.series import Metrics


def facts(tmp_path: Path, sweep: str, values: dict[str, list[float]], spread: float = 0.0) -> RunFacts:
    path = tmp_path / "x.toml"
    path.write_text(f'name = "x"\n[sweep]\n{sweep}\n', "utf-8")
    loaded = load_recipe(str(path))
    rows = [
        {"arm": arm, "generation": g, "metric": "m", "value": v, "low": v - spread, "high": v + spread, "n": 10}
        for arm, series in values.items()
        for g, v in enumerate(series)
    ]
    arms = [ArmFacts(arm.name, arm.control, arm.recipe, [], [], arm.control_name) for arm in loaded.arms]
    return RunFacts(loaded.recipe, "", arms, Metrics(rows), rows, [], {}, False)


def test_seeds_become_one_line_with_a_t_interval(tmp_path: Path) -> None:
    found = facts(
        tmp_path,
        "seed = [1, 2, 3]\n'mix.alpha' = [1.0]",
        {f"seed-{s}_alpha-1.0": [1.0, v] for s, v in zip((1, 2, 3), (2.0, 3.0, 4.0), strict=True)}
        | {f"control_seed-{s}": [1.0, 1.0] for s in (1, 2, 3)},
    )
    assert pools(found) == {
        "alpha-1.0": ["seed-1_alpha-1.0", "seed-2_alpha-1.0", "seed-3_alpha-1.0"],
        "control": ["control_seed-1", "control_seed-2", "control_seed-3"],
    }
    shown = pooled(found)
    assert [(arm.name, arm.control) for arm in shown.arms] == [("alpha-1.0", False), ("control", True)]
    start, end = shown.metrics.series("alpha-1.0", "m")
    assert (start.value, start.interval) == (1.0, (1.0, 1.0))
    assert end.value == 3.0
    assert end.interval is not None
    assert end.interval[1] - 3.0 == pytest.approx(stdtrit(2, 0.975) / math.sqrt(3))
    assert end.n == 30
    control = shown.control_of(shown.arms[0])
    assert control is not None
    assert control.name == "control"


def test_the_wider_interval_is_shown(tmp_path: Path) -> None:
    found = facts(tmp_path, "seed = [1, 2]", {"seed-1": [0.5], "seed-2": [0.5]}, spread=0.1)
    (point,) = pooled(found).metrics.series("main", "m")
    assert point.interval == pytest.approx((0.4, 0.6))


def test_generations_that_a_seed_lacks_are_left_out(tmp_path: Path) -> None:
    found = facts(tmp_path, "seed = [1, 2]", {"seed-1": [0.5, 0.6], "seed-2": [0.5]})
    assert [point.generation for point in pooled(found).metrics.series("main", "m")] == [0]


def test_one_seed_is_left_alone(tmp_path: Path) -> None:
    found = facts(tmp_path, "'mix.alpha' = [1.0, 0.5]", {"alpha-1.0": [1.0], "alpha-0.5": [1.0], "control": [1.0]})
    assert pools(found) == {}
    assert pooled(found) is found
