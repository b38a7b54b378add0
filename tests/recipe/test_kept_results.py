"""`recipes/README.md` has the numbers of the kept results. Every result belongs to a shipped recipe."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from autophage.recipe import load_recipe, shipped_recipes

ROOT = Path(__file__).parents[2]
README = (ROOT / "recipes" / "README.md").read_text("utf-8")


@pytest.fixture(scope="module")
def tabulate() -> Iterator[ModuleType]:
    sys.path.insert(0, str(ROOT / "scripts"))
    spec = importlib.util.spec_from_file_location("tabulate_recipes", ROOT / "scripts" / "tabulate_recipes.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(ROOT / "scripts"))


def test_the_table_is_made_of_the_results(tabulate: ModuleType) -> None:
    results = tabulate.kept()
    assert results
    assert README.split(tabulate.BEGIN)[1].split(tabulate.END)[0].strip() == tabulate.table(results)


def test_the_table_of_remedies_is_made_of_the_results(tabulate: ModuleType) -> None:
    tables = list(tabulate.remedy_table.tables(tabulate.kept()))
    assert tables
    begin, end = tabulate.remedy_table.BEGIN, tabulate.remedy_table.END
    assert README.split(begin)[1].split(end)[0].strip() == "\n\n".join(tables)


def test_results_are_of_shipped_recipes_as_they_are(tabulate: ModuleType) -> None:
    for one in tabulate.kept():
        recipe = load_recipe(one["recipe"], profile=one["profile"] or None).recipe
        generations = {row["generation"] for row in one["metrics"]}
        assert generations == set(range(recipe.generations + 1)), one["recipe"]
        assert all(found["verdict"] in ("reproduced", "contradicted", "not at this scale") for found in one["findings"])


def test_every_recipe_is_explained() -> None:
    assert [name for name in shipped_recipes() if f"`{name}`" not in README] == []
