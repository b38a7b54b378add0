"""One process for each step, with a deadline. Standard library only.

A step's process writes its own rows (`evidence`). This one writes how the step ended: seconds, or the end of its output. The
whole output of steps that failed is kept beside the rows.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gpu_bench import plan
from gpu_bench.evidence import FAILED, STEP, Evidence, ended, read
from gpu_bench.plan import Step
from harness import children
from harness.facts import ROOT, device_name, driver

Worker = Callable[[Step, Evidence, Path], None]
MEMORY_FILES = Path("/dev/shm")
MEMORY_FILES_BYTES, FREE_MEMORY_BYTES = 20e9, 64e9
"""Room for 16 GB of weights in `MEMORY_FILES`, and free memory for them, a model that is being loaded and copies of adapters."""


def run(
    script: Path, steps: Sequence[Step], budget: float, out: Path, facts: Mapping[str, object], *, quick: bool
) -> bool:
    """Run steps until the budget is spent. Return True if a step failed.

    Steps that ended in an earlier command are left out. Those that failed in one come last.
    """
    ends, earlier, failed = time.monotonic() + budget, ended(read(out)), False
    with models_folder(quick=quick) as environment:
        for step in sorted(steps, key=lambda step: earlier.get(step.key) is False):
            evidence = Evidence(out, step.key, step.parts, facts, {"quick": quick})
            left = ends - time.monotonic()
            if earlier.get(step.key):
                say(f"{step.key}: measured before")
            elif reason := plan.why_not(step, plan.installed):
                say(f"{step.key}: left out, {reason}")
                evidence.add(step.key, STEP, "", "", [], f"left out: {reason}")
            elif (deadline := plan.deadline(step, left)) is None:
                reason = f"takes {step.seconds:.0f} s, and {max(0.0, left):.0f} s of the budget were left"
                say(f"{step.key}: left out, {reason}")
                evidence.add(step.key, STEP, "", "", [], f"left out: {reason}")
            else:
                failed |= not attempt(script, step, deadline, evidence, environment, out, quick=quick)
    return failed


def attempt(
    script: Path,
    step: Step,
    deadline: float,
    evidence: Evidence,
    environment: Mapping[str, str],
    out: Path,
    *,
    quick: bool,
) -> bool:
    """Run one step in its own process. Return True if it succeeded."""
    say(f"{step.key}: planned {step.seconds:.0f} s, at most {deadline:.0f} s")
    with tempfile.TemporaryDirectory(prefix="autophage-bench-") as name:
        folder = Path(name)
        spec = {"step": asdict(step), "out": str(out.absolute()), "quick": quick, "deadline": deadline}
        own = {"parent": os.getpid(), "launched": time.time(), "facts": evidence.facts}
        (folder / "spec.json").write_text(json.dumps(spec | own, default=str), "utf-8")
        command = [sys.executable, str(script), "--worker", step.name, name]
        done = children.run(command, environment, deadline, folder / "log.txt")
        if done.failure:
            _keep_log(folder / "log.txt", step, out)
    say(f"{step.key}: {done.seconds:.0f} s{', ' + FAILED + done.failure if done.failure else ''}")
    if done.failure:
        evidence.fail(step.key, STEP, f"after {done.seconds:.0f} s: {done.failure}")
    else:
        evidence.add(step.key, STEP, "seconds", "s", [done.seconds])
    return not done.failure


def work(workers: Mapping[str, Worker], name: str, folder: Path) -> int:
    """The other end of `attempt`: one step, in this process. Exit code 1 if one of its measurements failed."""
    spec: dict[str, Any] = json.loads((folder / "spec.json").read_text("utf-8"))
    children.end_with_parent(int(spec["parent"]))
    step = Step.of(spec["step"])
    parameters = spec["step"] | {key: spec[key] for key in ("quick", "launched", "deadline")}
    evidence = Evidence(Path(spec["out"]), step.key, step.parts, spec["facts"], parameters)
    workers[name](step, evidence, folder)
    if evidence.failures:
        print(f"{evidence.failures} measurement(s) failed; their rows have the reasons")
    return int(evidence.failures > 0)


@contextlib.contextmanager
def models_folder(*, quick: bool) -> Iterator[dict[str, str]]:
    """Environment of the steps: one GPU, no network, and a folder for models of random weights.

    The folder is in memory if there is room, as a disk may take minutes for 16 GB. It is removed at the end. A user's
    AUTOPHAGE_CACHE comes first, and stays.
    """
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1", **one_gpu(), **sources()}
    own = MEMORY_FILES / f"autophage-first-gpu-{os.getuid()}"
    roomy = MEMORY_FILES.is_dir() and shutil.disk_usage(MEMORY_FILES).free > MEMORY_FILES_BYTES
    if quick or "AUTOPHAGE_CACHE" in os.environ or not (own.is_dir() or (roomy and free_memory() > FREE_MEMORY_BYTES)):
        yield environment
        return
    try:
        yield environment | {"AUTOPHAGE_CACHE": str(own)}
    finally:
        shutil.rmtree(own, ignore_errors=True)


def sources() -> dict[str, str]:
    """Import path of the steps: the packages of this checkout, which need not be installed."""
    own = [str(ROOT / name) for name in ("engine", "kernels") if (ROOT / name).is_dir()]
    return {"PYTHONPATH": os.pathsep.join([*own, *filter(None, [os.environ.get("PYTHONPATH")])])}


def free_memory() -> float:
    """Bytes of memory that are free or can be freed; 0 if the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    except OSError:
        return 0.0
    return next((1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), 0.0)


def one_gpu() -> dict[str, str]:
    """Let the steps see one GPU, the first that this process may use. Figures are those of one."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0")
    return {"CUDA_VISIBLE_DEVICES": visible.split(",")[0]}


def gpu_name() -> str:
    """Name of the first visible GPU by NVIDIA's driver; empty if there is none. No memory of the device is taken."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:  # torch may know another path to the library; nvidia-smi tells if there is a GPU
        return device_name() if driver() else ""
    count, name = ctypes.c_int(0), ctypes.create_string_buffer(256)
    if cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        return ""
    return name.value.decode() if cuda.cuDeviceGetName(name, len(name), 0) == 0 else "unnamed GPU"


def _keep_log(log: Path, step: Step, out: Path) -> None:
    with out.with_suffix(".log").open("a", encoding="utf-8") as file:
        file.write(f"==== {step.key}\n{log.read_text('utf-8', 'replace')}\n")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
