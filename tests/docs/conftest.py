"""A folder like that of a reader who followed the pages: texts, a recipe, finished runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`runs/smoke` is a real run; `runs/demo` is the same run under the name that pages use."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "my-texts").mkdir()
    (folder / "my-texts/one.txt").write_text("The sea was calm and the harbour slept. " * 400, encoding="utf-8")
    tutorial = (ROOT / "docs/tutorial.md").read_text("utf-8")
    [recipe] = re.findall(r'^```toml\n(name = "mine"\n.*?)^```', tutorial, flags=re.MULTILINE | re.DOTALL)
    (folder / "mine.toml").write_text(recipe, encoding="utf-8")
    variables = {**os.environ, "AUTOPHAGE_CACHE": str(folder / "cache")}
    command = [sys.executable, "-m", "autophage", "run", "smoke", "--out", "runs/smoke"]
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout[-1000:], done.stderr[-2000:])
    shutil.copytree(folder / "runs/smoke", folder / "runs/demo")
    return folder


@pytest.fixture
def inside(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The workplace as working directory, with a cache of its own."""
    monkeypatch.chdir(workplace)
    monkeypatch.setenv("AUTOPHAGE_CACHE", str(workplace / "cache"))
    return workplace
