from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from autophage.data.build import read_source
from autophage.errors import UserError
from autophage.recipe.schema import Recipe
from autophage.runs.directory import check_same
from autophage.stages.facts import model_facts


def facts(folder: Path) -> dict[str, Any]:
    recipe = Recipe(name="t")
    resident = SimpleNamespace(parameters=1, config=SimpleNamespace(), layout=None)
    return {"model": model_facts(recipe, str(folder), read_source(recipe), cast(Any, resident))}


@pytest.mark.parametrize(
    "name",
    ["chat_template.jinja", "generation_config.json", "special_tokens_map.json", "merges.txt", "tokenizer.model"],
)
def test_what_decides_prompts_tokens_and_ends_must_not_change(tmp_path: Path, name: str) -> None:
    (tmp_path / "config.json").write_text("{}", "utf-8")
    (tmp_path / name).write_text("one", "utf-8")
    before = facts(tmp_path)
    assert check_same(before, facts(tmp_path)) == []
    (tmp_path / "README.md").write_text("words about the model", "utf-8")
    assert check_same(before, facts(tmp_path)) == []
    (tmp_path / name).write_text("two", "utf-8")
    with pytest.raises(UserError, match="the model"):
        check_same(before, facts(tmp_path))


def test_a_template_of_another_name_is_another_model(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}", "utf-8")
    (tmp_path / "chat_template.jinja").write_text("one", "utf-8")
    before = facts(tmp_path)
    (tmp_path / "chat_template.jinja").rename(tmp_path / "chat_template_old.jinja")
    with pytest.raises(UserError, match="chat template"):
        check_same(before, facts(tmp_path))


def test_a_run_of_before_is_not_held_to_facts_that_it_does_not_know(tmp_path: Path) -> None:
    before = facts(tmp_path)
    del before["model"]["prompting"]
    (tmp_path / "generation_config.json").write_text("{}", "utf-8")
    assert check_same(before, facts(tmp_path)) == []
