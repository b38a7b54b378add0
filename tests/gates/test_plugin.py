"""The gate of the page on remedies, built and installed by its instructions, keeps the contract."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "guide" / "remedies.md").read_text("utf-8")
SECTION = PAGE.split("\n## Gates")[1].split("\n## ")[0]
CODE = re.findall(r"```python\n(.*?)```", SECTION, flags=re.DOTALL)
TABLES = re.findall(r"```toml\n(.*?)```", SECTION, flags=re.DOTALL)
BUILD = '\n[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
CHECK = """
from autophage.gates.contract import check_gate
from autophage.recipe import load_recipe
import brevity

recipe = load_recipe("demo.toml").recipe
assert recipe.gate == [brevity.Brevity(words=10)], recipe.gate
verdicts = [one.ruling.value for one in check_gate(recipe.gate[0])]
print(*sorted(set(verdicts)))
"""
DEMO = 'name = "demo"\n[[gate]]\nkind = "brevity"\nwords = 10\n'


@pytest.mark.slow
def test_the_example_of_the_page_works_as_an_installed_package(tmp_path: Path) -> None:
    assert len(CODE) == 1
    (tmp_path / "brevity.py").write_text(CODE[0])
    (tmp_path / "pyproject.toml").write_text(TABLES[-1] + BUILD)
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel"]
    done = subprocess.run(build, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    [wheel] = (tmp_path / "dist").glob("*.whl")
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)  # all that an installer does with a package of Python files
    variables = {**os.environ, "PYTHONPATH": str(site)}
    (tmp_path / "demo.toml").write_text(DEMO)
    elsewhere = tmp_path / "elsewhere"  # where brevity.py does not lie beside the caller
    elsewhere.mkdir()
    (elsewhere / "demo.toml").write_text(DEMO)
    ran = subprocess.run(
        [sys.executable, "-c", CHECK], cwd=elsewhere, env=variables, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == ["abstain", "accept", "reject"]
    wrong = ["-m", "autophage", "plan", "demo.toml", "--set", 'gate=[{kind="brevity", wrods=3}]']
    told = subprocess.run(
        [sys.executable, *wrong], cwd=elsewhere, env=variables, capture_output=True, text=True, check=False
    )
    assert told.returncode == 2
    assert "did you mean words?" in told.stderr


def test_the_gates_of_the_page_are_a_recipe(tmp_path: Path) -> None:
    from autophage.recipe import load_recipe

    (tmp_path / "demo.toml").write_text(f'name = "demo"\n{TABLES[0]}')
    loaded = load_recipe(str(tmp_path / "demo.toml"))
    assert [gate.kind for gate in loaded.recipe.gate] == ["entailment", "attribution", "novelty"]
    assert loaded.recipe.sample.written == 400
    assert loaded.warnings == []
