"""Variables of a run's processes, as vLLM and torch read them."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from autophage.host import environment

GPUS = "CUDA_VISIBLE_DEVICES"

CHOICE = """
import os
from autophage.host import environment
environment.apply()
from vllm.v1.sample.ops import topk_topp_sampler
class Cuda:
    def is_cuda(self): return True
topk_topp_sampler.current_platform = Cuda()
print("choice", topk_topp_sampler.flashinfer_sampler_supported())
os.environ["VLLM_USE_FLASHINFER_SAMPLER"] = "1"
try:
    topk_topp_sampler.flashinfer_sampler_supported()
except ImportError as error:
    print("otherwise", error.name)
"""
"""vLLM's own choice of a sampler, as if on a GPU. On a CPU FlashInfer is missing, which shows the way that leads to it."""


def test_the_installed_vllm_knows_the_variable() -> None:
    found = find_spec("vllm")
    assert found is not None
    assert found.origin is not None
    assert '"VLLM_USE_FLASHINFER_SAMPLER": lambda' in Path(found.origin).with_name("envs.py").read_text("utf-8")
    assert environment.process_variables()["VLLM_USE_FLASHINFER_SAMPLER"] == "0"


@pytest.mark.long
def test_vllm_leaves_flashinfers_sampler_alone() -> None:
    own = {name: value for name, value in os.environ.items() if name != "VLLM_USE_FLASHINFER_SAMPLER"}
    answer = subprocess.run([sys.executable, "-c", CHOICE], capture_output=True, text=True, env=own)
    assert answer.returncode == 0, answer.stderr[-2000:]
    assert answer.stdout.splitlines()[-2:] == ["choice False", "otherwise flashinfer"]


def test_a_user_may_switch_flashinfers_sampler_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"VLLM_USE_FLASHINFER_SAMPLER": "1"})
    environment.apply()
    assert environment.for_workers()["VLLM_USE_FLASHINFER_SAMPLER"] == "1"


def test_workers_on_other_machines_get_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {})
    environment.apply()
    assert environment.for_workers()["VLLM_USE_FLASHINFER_SAMPLER"] == "0"


# --- one GPU ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("listed", "first"),
    [
        (None, "0"),
        ("3", "3"),
        ("2,0,1", "2"),
        (" 2, 0", "2"),
        ("GPU-8932f937-d72c,GPU-41", "GPU-8932f937-d72c"),
        ("MIG-GPU-8932f937/1/0,MIG-GPU-8932f937/2/0", "MIG-GPU-8932f937/1/0"),
        ("", ""),
        ("-1", "-1"),
        ("NoDevFiles", "NoDevFiles"),
    ],
)
def test_the_first_gpu_of_a_process(monkeypatch: pytest.MonkeyPatch, listed: str | None, first: str) -> None:
    monkeypatch.setenv(GPUS, "") if listed is None else monkeypatch.setenv(GPUS, listed)
    if listed is None:
        monkeypatch.delenv(GPUS)
    environment.one_visible_gpu()
    assert os.environ[GPUS] == first


def gpus_at_import_of_torch(folder: Path, *command: str) -> str:
    """Run a command whose `torch` ends the process. Return the GPUs that torch would have seen."""
    (folder / "torch").mkdir()
    (folder / "torch" / "__init__.py").write_text(
        f"import os\nprint('visible', os.environ.get('{GPUS}'), flush=True)\nos._exit(0)\n"
    )
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    variables = {**os.environ, "PYTHONPATH": path, GPUS: "4,5,6,7"}
    answer = subprocess.run(command, capture_output=True, text=True, env=variables, cwd=folder)
    assert answer.stdout.startswith("visible "), answer.stderr[-2000:]
    return answer.stdout.split()[1]


def test_the_loop_in_one_process_sees_one_gpu_when_torch_comes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "autophage.loop", "smoke", "--out", str(tmp_path / "out")]
    assert gpus_at_import_of_torch(tmp_path, *command) == "4"


def test_a_program_that_imports_the_loop_keeps_its_gpus(tmp_path: Path) -> None:
    assert gpus_at_import_of_torch(tmp_path, sys.executable, "-c", "import autophage.loop") == "4,5,6,7"
