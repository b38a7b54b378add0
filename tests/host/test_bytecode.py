"""Compiled files are kept where an environment forbids them beside their sources, and only where nobody else may write."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

WRITE = """
import os, sys
from autophage.host import bytecode
bytecode.keep()
import big
print(sys.dont_write_bytecode, sys.pycache_prefix, os.environ.get("PYTHONPYCACHEPREFIX"), "PYTHONDONTWRITEBYTECODE" in os.environ)
"""


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """Return a folder with two packages, one by the name that tells whether an environment is compiled."""
    folder = tmp_path / "packages"
    for name in ("torch", "big"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text("value = 1\n")
    return folder


def process(packages: Path, home: Path, **variables: str) -> list[str]:
    """Import a package in a new process, and return what its interpreter says of compiled files."""
    paths = os.pathsep.join([str(packages), *sys.path])
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "XDG"))}
    environment = {**kept, "PYTHONPATH": paths, "HOME": str(home), **variables}
    return subprocess.run(
        [sys.executable, "-c", WRITE], env=environment, capture_output=True, text=True, check=True
    ).stdout.split()


def test_a_process_that_may_not_compile_keeps_its_files_in_the_cache(packages: Path, tmp_path: Path) -> None:
    folder = str(tmp_path / ".cache" / "autophage" / "bytecode")
    assert process(packages, tmp_path, PYTHONDONTWRITEBYTECODE="1") == ["False", folder, folder, "False"]
    assert [path.name.split(".")[0] for path in Path(folder).rglob("*big/*.pyc")] == ["__init__"]
    assert not list(packages.rglob("__pycache__"))
    assert Path(folder).stat().st_mode & 0o777 == 0o700


def test_an_environment_that_is_compiled_or_can_be_is_left_alone(packages: Path, tmp_path: Path) -> None:
    assert process(packages, tmp_path) == ["False", "None", "None", "False"]
    (packages / "torch" / "__pycache__").mkdir()
    assert process(packages, tmp_path, PYTHONDONTWRITEBYTECODE="1") == ["True", "None", "None", "True"]


def test_a_folder_of_the_users_choice_stands(packages: Path, tmp_path: Path) -> None:
    own = str(tmp_path / "own")
    said = process(packages, tmp_path, PYTHONDONTWRITEBYTECODE="1", PYTHONPYCACHEPREFIX=own)
    assert said == ["True", own, own, "True"]


def test_files_that_others_may_write_are_not_trusted(packages: Path, tmp_path: Path) -> None:
    shared = tmp_path / ".cache" / "autophage" / "bytecode"
    shared.mkdir(parents=True)
    shared.chmod(0o777)
    assert process(packages, tmp_path, PYTHONDONTWRITEBYTECODE="1") == ["True", "None", "None", "True"]


def test_a_home_that_does_not_exist_is_no_reason_to_fail(packages: Path) -> None:
    said = process(packages, Path("/proc/no-home"), PYTHONDONTWRITEBYTECODE="1")
    assert said == ["True", "None", "None", "True"]
