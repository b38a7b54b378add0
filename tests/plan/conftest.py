"""A cache per test. The user's measured speeds must not change the plans."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from autophage.plan import Plan, plan
from autophage.plan.machines import named
from autophage.recipe.arms import expand
from autophage.recipe.schema import Recipe

RecipeMaker = Callable[..., Recipe]
PlanMaker = Callable[..., Plan]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOPHAGE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def recipe_of() -> RecipeMaker:
    return lambda **tables: Recipe.model_validate({"name": "tiny", "generations": 3, **tables})


@pytest.fixture
def made(recipe_of: RecipeMaker) -> PlanMaker:
    """`made("h200", {"gpus": 2}, sample={...})`: the plan of a recipe with these tables on a machine."""

    def make(machine: str = "cpu-2", options: dict[str, object] | None = None, **tables: object) -> Plan:
        recipe = recipe_of(**tables)
        return plan(recipe, expand(recipe), named(machine), **(options or {}))  # type: ignore[arg-type]

    return make
