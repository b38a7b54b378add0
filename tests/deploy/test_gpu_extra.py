"""Versions that an installation with the extra `gpu` gets, and kernels compiled by the Triton among them. The network is needed.

Neither a GPU nor CUDA is needed: uv resolves for another machine, and Triton compiles for absent GPUs.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.version import Version
from tests.deploy.installer import uv, uv_variables

from autophage.host import vllm_window

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[2]
PLATFORM = "x86_64-manylinux_2_28"


def resolved(python: str) -> dict[str, str]:
    """Versions by package that uv chooses for a GPU machine with this Python."""
    command = [uv(), "pip", "compile", "pyproject.toml", "--extra", "gpu", "--quiet", "--no-header", "--no-annotate"]
    command += ["--python-version", python, "--python-platform", PLATFORM]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=uv_variables(links=False))
    assert done.returncode == 0, done.stderr
    return dict(re.findall(r"^([\w.-]+)==(\S+)", done.stdout, flags=re.MULTILINE))


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_it_resolves(python: str) -> None:
    versions = resolved(python)
    print(python, {name: versions[name] for name in ("vllm", "torch", "triton", "transformers", "trl", "peft", "ray")})
    assert vllm_window.within(versions["vllm"])
    assert Version(versions["torch"]).local is None, "a build from elsewhere, such as +cpu"
    assert "nvidia-cuda-runtime" in versions
    assert not {"torchvision", "torchaudio", "torchcodec"} & versions.keys()


def test_the_kernels_compile_on_the_triton_that_it_gets(tmp_path: Path) -> None:
    version = resolved(f"{sys.version_info.major}.{sys.version_info.minor}")["triton"]
    command = [uv(), "pip", "install", "--quiet", "--python", sys.executable, "--target", str(tmp_path / "triton")]
    subprocess.run([*command, "--no-deps", f"triton=={version}"], check=True, env=uv_variables(links=False))
    path = os.pathsep.join([str(tmp_path / "triton"), *filter(None, [os.environ.get("PYTHONPATH")])])
    own = {**os.environ, "PYTHONPATH": path, "TRITON_CACHE_DIR": str(tmp_path / "cache")}
    asked = subprocess.run(
        [sys.executable, "-c", "import triton; print(triton.__version__)"],
        capture_output=True, text=True, env=own, check=True,
    )  # fmt: skip
    assert asked.stdout.strip() == version
    tests = [sys.executable, "-m", "pytest", "-q", "tests/kernels/test_machine_code.py", "-p", "no:cacheprovider"]
    done = subprocess.run(tests, cwd=ROOT, capture_output=True, text=True, env=own)
    assert done.returncode == 0, done.stdout[-4000:]
    print(version, done.stdout.splitlines()[-1])
