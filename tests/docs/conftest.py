"""Folder of a reader who followed the pages, with texts, a recipe and finished runs."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory, smoke_run: Path) -> Path:
    """`runs/smoke` is a real run. `runs/demo` is the same run under the name of the pages."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "my-texts").mkdir()
    (folder / "my-texts/one.txt").write_text("The sea was calm and the harbour slept. " * 400, encoding="utf-8")
    tutorial = (ROOT / "docs/tutorial.md").read_text("utf-8")
    [recipe] = re.findall(r'^```toml\n(name = "mine"\n.*?)^```', tutorial, flags=re.MULTILINE | re.DOTALL)
    (folder / "mine.toml").write_text(recipe, encoding="utf-8")
    shutil.copytree(smoke_run, folder / "runs/smoke")
    shutil.copytree(folder / "runs/smoke", folder / "runs/demo")
    return folder


@pytest.fixture
def inside(workplace: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The workplace as working directory, with the cache of the runs that it holds."""
    monkeypatch.chdir(workplace)
    monkeypatch.setenv("AUTOPHAGE_CACHE", str(cache))
    return workplace
