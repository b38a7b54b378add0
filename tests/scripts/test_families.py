"""The page of supported models shows the kept rows, and every row is kept. A `long` test runs them all."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from autophage.host import vllm_window

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts"
PAGE = (ROOT / "docs/guide/models.md").read_text("utf-8")
TOLERANCE = 5e-4


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    spec = importlib.util.spec_from_file_location("family_table", SCRIPTS / "family_table.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def script(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPTS / "families.py"), *arguments]
    return subprocess.run(
        command, env={**os.environ, "HF_HUB_OFFLINE": "1"}, capture_output=True, text=True, check=False
    )


def test_the_page_shows_the_kept_rows(tables: ModuleType) -> None:
    assert tables.page_with_tables(PAGE, tables.kept()) == PAGE


def test_a_changed_row_changes_the_page(tables: ModuleType) -> None:
    rows = tables.kept()
    rows["llama-lora"] = {**rows["llama-lora"], "canary": 0.25}
    assert tables.page_with_tables(PAGE, rows) != PAGE


def test_kept_rows_are_sound(tables: ModuleType) -> None:
    rows = tables.kept()
    assert {row["outcome"] for row in rows.values()} == {"works", "refused early"}
    assert [name for name, row in rows.items() if row["outcome"] == "works" and not row["canary"] < TOLERANCE] == []
    assert all(vllm_window.within(row["vllm"].split()[1]) for row in rows.values())


@pytest.mark.thorough
def test_every_row_is_kept(tables: ModuleType) -> None:
    listed = script("--list")
    assert listed.returncode == 0, listed.stderr[-2000:]
    assert listed.stdout.split() == list(tables.kept())


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_every_row_runs_as_kept(tables: ModuleType) -> None:
    """The kept rows themselves are left as they are."""
    done = script("--dry", *tables.kept())
    found = {line.split(" ", 1)[0]: json.loads(line.split(" ", 1)[1]) for line in _answers(done.stdout)}
    assert {name: row["outcome"] for name, row in found.items()} == {
        name: row["outcome"] for name, row in tables.kept().items()
    }, done.stderr[-3000:]


def _answers(stdout: str) -> Iterator[str]:
    return (line for line in stdout.splitlines() if re.match(r"[\w-]+ \{", line))
