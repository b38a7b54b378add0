"""What `doctor` says about GPUs. A program in place of `nvidia-smi` answers as the real one does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from autophage.host import doctor, gpu_checks, gpus
from autophage.host.check import Check

HEADER = "| NVIDIA-SMI 580.65.06    Driver Version: 580.65.06    CUDA Version: 13.0     |"
SAMPLER = "VLLM_USE_FLASHINFER_SAMPLER"


def gpu(index: int, *, name: str = "NVIDIA H200", capability: str = "9.0", **state: object) -> list[object]:
    """One row of `nvidia-smi --query-gpu`."""
    used, mode, mig = (
        state.get(key, value) for key, value in (("used", 600), ("mode", "Default"), ("mig", "Disabled"))
    )
    return [index, f"GPU-{index}{index}f0", name, capability, 143771, used, mode, mig]


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of commands that is the whole PATH, and no variables that choose GPUs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "CUDA_HOME", "CUDA_PATH", SAMPLER):
        monkeypatch.delenv(name, raising=False)
    return folder


def command(folder: Path, name: str, body: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{body}\n")
    (folder / name).chmod(0o755)


def smi(folder: Path, rows: Sequence[Sequence[object]], apps: str = "", listing: str = "") -> None:
    """`nvidia-smi` of a machine with these GPUs."""
    state = "\n".join(", ".join(map(str, row)) for row in rows)
    brief = "\n".join(f"580.65.06, {row[2]}, {row[4]}" for row in rows)
    answers = {
        "--query-gpu=driver_version,name,memory.total --format=csv,noheader,nounits": brief,
        f"--query-gpu={gpus.FIELDS} --format=csv,noheader,nounits": state,
        "--query-compute-apps=gpu_uuid,pid --format=csv,noheader": apps,
        "-L": listing,
        "": HEADER,
    }
    cases = "\n".join(f"'{asked}') echo '{answer}';;" for asked, answer in answers.items())
    command(folder, "nvidia-smi", f'case "$*" in\n{cases}\n*) echo "Field is not valid: $*"; exit 2;;\nesac')


def found(name: str) -> Check:
    """The check of this name among all that `doctor` makes."""
    [check] = [check for check in doctor.diagnose() if check.name == name]
    return check


def names() -> set[str]:
    return {check.name for check in doctor.diagnose()}


def test_a_machine_without_gpus_hears_nothing_of_them(bare: Path) -> None:
    assert not names() & {"visible GPUs", "MIG", "GPU memory in use", "compute mode", "CUDA compiler"}


def test_a_machine_in_order(bare: Path) -> None:
    smi(bare, [gpu(0)])
    assert found("visible GPUs") == Check("visible GPUs", True, "1 of 1")
    assert found("GPU memory in use") == Check("GPU memory in use", True, "at most 0.6 GiB")
    assert not names() & {"MIG", "compute mode"}


def test_an_old_nvidia_smi_that_lacks_a_field_hides_no_other_check(bare: Path) -> None:
    command(
        bare,
        "nvidia-smi",
        f"case \"$*\" in *mig*) exit 2;; *csv*) echo '470.1, NVIDIA L4, 23034';; *) echo '{HEADER}';; esac",
    )
    assert found("GPUs").found == "1 x NVIDIA L4, 22 GiB; driver 470.1"
    assert "visible GPUs" not in names()


# --- which GPUs -------------------------------------------------------------------------------------------------------


def test_several_gpus_are_put_to_use_by_a_key(bare: Path) -> None:
    smi(bare, [gpu(index) for index in range(8)])
    check = found("visible GPUs")
    assert (check.ok, check.found) == (None, "8 of 8")
    assert "cluster.cells" in check.remedy


@pytest.mark.parametrize("listed", ["1", "GPU-11f0", "GPU-11"])
def test_one_of_several(bare: Path, monkeypatch: pytest.MonkeyPatch, listed: str) -> None:
    smi(bare, [gpu(0, used=140000), gpu(1)])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    assert found("visible GPUs") == Check("visible GPUs", True, f"1 of 2: CUDA_VISIBLE_DEVICES={listed}")
    assert found("GPU memory in use").ok is True, "the other GPU is full, which does not matter"


@pytest.mark.parametrize("listed", ["", "-1"])
def test_hidden_gpus_are_said(bare: Path, monkeypatch: pytest.MonkeyPatch, listed: str) -> None:
    smi(bare, [gpu(0), gpu(1)])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    check = found("visible GPUs")
    assert (check.ok, check.found) == (None, f"none of 2: CUDA_VISIBLE_DEVICES={listed} hides them")
    assert check.remedy.startswith("unset CUDA_VISIBLE_DEVICES")


@pytest.mark.parametrize(("listed", "wrong"), [("7", "7"), ("0,GPU-99,1", "GPU-99"), ("GPU", "GPU"), ("0,", "")])
def test_an_entry_that_names_no_gpu_is_a_fault(
    bare: Path, monkeypatch: pytest.MonkeyPatch, listed: str, wrong: str
) -> None:
    smi(bare, [gpu(0), gpu(1)])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    check = found("visible GPUs")
    if wrong:
        assert check.ok is False
        assert f"CUDA_VISIBLE_DEVICES={listed}: {wrong} names no GPU" in check.found
    else:
        assert check == Check("visible GPUs", True, "1 of 2: CUDA_VISIBLE_DEVICES=0,")


def test_unlike_gpus_are_numbered_otherwise_by_cuda(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smi(bare, [gpu(0, name="NVIDIA L4"), gpu(1)])
    check = found("visible GPUs")
    assert check.ok is None
    assert "CUDA_DEVICE_ORDER=PCI_BUS_ID" in check.remedy
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    assert "CUDA_DEVICE_ORDER" not in found("visible GPUs").remedy


# --- MIG --------------------------------------------------------------------------------------------------------------

LISTING = """GPU 0: NVIDIA H200 (UUID: GPU-00f0)
  MIG 3g.71gb     Device  0: (UUID: MIG-c6d4f1ef)
  MIG 3g.71gb     Device  1: (UUID: MIG-cba663e8)
GPU 1: NVIDIA H200 (UUID: GPU-11f0)"""


def test_slices_are_counted_and_one_is_named(bare: Path) -> None:
    smi(bare, [gpu(0, mig="Enabled", used=100000)], listing=LISTING)
    check = found("MIG")
    assert (check.ok, check.found) == (None, "GPU 0: 2 slices")
    assert "CUDA_VISIBLE_DEVICES to one UUID, such as MIG-c6d4f1ef" in check.remedy
    assert "GPU memory in use" not in names(), "the memory of the whole GPU says nothing of a slice"


@pytest.mark.parametrize("listed", ["MIG-cba663e8", "MIG-GPU-00f0/2/0"])
def test_a_slice_may_be_chosen(bare: Path, monkeypatch: pytest.MonkeyPatch, listed: str) -> None:
    smi(bare, [gpu(0, mig="Enabled"), gpu(1)], listing=LISTING)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    assert found("visible GPUs").found == f"1 of 2: CUDA_VISIBLE_DEVICES={listed}"
    assert found("MIG") == Check("MIG", True, "one slice of GPU 0")


def test_mig_mode_without_slices_is_a_fault(bare: Path) -> None:
    smi(bare, [gpu(0), gpu(1, mig="Enabled")], listing=LISTING)
    check = found("MIG")
    assert check.ok is False
    assert check.found.startswith("GPU 1: in MIG mode without a slice")
    assert "nvidia-smi -i 1 -mig 0" in check.remedy


# --- other processes --------------------------------------------------------------------------------------------------


def test_a_gpu_that_another_process_fills_is_a_fault(bare: Path) -> None:
    smi(bare, [gpu(0, used=61645)], apps="GPU-00f0, 4711\nGPU-00f0, 4712")
    check = found("GPU memory in use")
    assert (check.ok, check.found) == (False, "GPU 0: 60.2 of 140 GiB, by process 4711, 4712")
    assert check.remedy.startswith("wait for these processes or end them")


def test_a_full_gpu_beside_free_ones_is_avoided(bare: Path) -> None:
    smi(bare, [gpu(0), gpu(1, used=61645), gpu(2)])
    check = found("GPU memory in use")
    assert check == Check(
        "GPU memory in use",
        None,
        "GPU 1: 60.2 of 140 GiB, by processes that this container does not see",
        "use the others: CUDA_VISIBLE_DEVICES=0,2",
    )


def test_memory_that_the_driver_does_not_tell_is_not_judged(bare: Path) -> None:
    row = gpu(0, name="NVIDIA GB10", used="[N/A]")
    row[4] = "[N/A]"
    smi(bare, [row])
    assert "GPU memory in use" not in names()


def test_exclusive_mode_leaves_no_room_for_sampler_and_trainer(bare: Path) -> None:
    smi(bare, [gpu(0, mode="Exclusive_Process")])
    check = found("compute mode")
    assert (check.ok, check.found) == (False, "GPU 0: Exclusive_Process")
    assert "nvidia-smi -i 0 -c DEFAULT" in check.remedy
    smi(bare, [gpu(0, mode="Exclusive_Process"), gpu(1, mode="Exclusive_Process")])
    check = found("compute mode")
    assert check.ok is None
    assert "devices=disjoint" in check.remedy


def test_prohibited_mode_is_a_fault(bare: Path) -> None:
    smi(bare, [gpu(0), gpu(1, mode="Prohibited")])
    check = found("compute mode")
    assert (check.ok, check.found) == (False, "GPU 1: Prohibited")


# --- CUDA's compiler --------------------------------------------------------------------------------------------------


@pytest.fixture
def no_toolkit(monkeypatch: pytest.MonkeyPatch, bare: Path) -> Path:
    monkeypatch.setenv("CUDA_HOME", str(bare / "none"))
    return bare


def test_nvcc_is_not_needed_as_long_as_flashinfer_is_off(no_toolkit: Path) -> None:
    smi(no_toolkit, [gpu(0)])
    check = found("CUDA compiler")
    assert (check.ok, check.remedy) == (True, "")
    assert check.found == "no nvcc, without ninja; not needed, since FlashInfer's sampler is off"


def test_whoever_asks_for_flashinfers_sampler_needs_nvcc(no_toolkit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smi(no_toolkit, [gpu(0)])
    monkeypatch.setenv(SAMPLER, "1")
    check = found("CUDA compiler")
    assert check.ok is False
    assert check.remedy.startswith(f"unset {SAMPLER}, or set CUDA_HOME")
    (no_toolkit / "none" / "bin").mkdir(parents=True)
    command(no_toolkit / "none" / "bin", "nvcc", "")
    command(no_toolkit, "ninja", "")
    assert found("CUDA compiler").ok is True


def test_blackwells_attention_may_want_nvcc(no_toolkit: Path) -> None:
    smi(no_toolkit, [gpu(0, name="NVIDIA B200", capability="10.0")])
    check = found("CUDA compiler")
    assert check.ok is None
    assert "FlashInfer's attention" in check.found
    assert "CUDA_HOME" in check.remedy


def test_nvcc_on_the_path_is_found(bare: Path) -> None:
    command(bare, "nvcc", "")
    assert gpu_checks.find_nvcc() == str(bare / "nvcc")


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_says_it_as_json_and_in_words(bare: Path) -> None:
    smi(bare, [gpu(0, used=61645)], apps="GPU-00f0, 4711")
    own = {**os.environ, "COLUMNS": "200"}
    ask = [sys.executable, "-m", "autophage", "doctor"]
    answer = subprocess.run([*ask, "--json"], capture_output=True, text=True, env=own)
    assert answer.returncode == 1, answer.stderr
    [said] = [check for check in json.loads(answer.stdout) if check["name"] == "GPU memory in use"]
    assert said["ok"] is False
    words = subprocess.run(ask, capture_output=True, text=True, env=own).stdout
    assert said["found"] in words
    assert said["remedy"] in " ".join(words.split())
