"""`scripts/v2_window.py`: which versions it takes, and how it lays a wheel over the installed vLLM."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from autophage.host import vllm_window

SCRIPT = Path(__file__).parents[2] / "scripts" / "v2_window.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("v2_window", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_versions_are_the_ends_of_the_window(script: ModuleType) -> None:
    oldest, newest = (version.replace("*", "0") for version in script.window())
    assert vllm_window.within(oldest)
    assert vllm_window.within(newest)
    major, minor = map(int, vllm_window.BELOW.split("."))
    assert newest == f"{major}.{minor - 1}.0"
    assert oldest == f"{vllm_window.MINIMUM}.0"


def test_a_wheel_is_laid_over_the_compiled_files(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "vllm-0.33.7-cp38-abi3-any.whl"
    with zipfile.ZipFile(archive, "w") as wheel:
        for name in ("vllm/__init__.py", "vllm/v1/core.py", "vllm/_C.abi3.so", "vllm-0.33.7.dist-info/METADATA"):
            wheel.writestr(name, "")
    installed = tmp_path / "_C_AVX2.abi3.so"
    installed.write_text("compiled")
    for _ in range(2):  # the second time from the cache
        folder = script.overlay(archive, tmp_path / "sources", [installed])
    assert sorted(path.name for path in (folder / "vllm").iterdir()) == ["_C_AVX2.abi3.so", "__init__.py", "v1"]
    assert (folder / "vllm/_C_AVX2.abi3.so").read_text() == "compiled"
    monkeypatch.syspath_prepend(folder)
    assert vllm_window.require() == ("vllm", "0.33.7+cpu")


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_the_v2_runner_holds_over_the_window() -> None:
    """It downloads two wheels, of 100 and 340 MB."""
    done = subprocess.run([sys.executable, SCRIPT], check=False)
    assert done.returncode == 0
