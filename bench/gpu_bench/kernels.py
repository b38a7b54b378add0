"""The kernels at a vocabulary of 128,256, and their tests on a GPU. Needs torch and triton, and pytest for the tests."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from gpu_bench.evidence import Evidence
from gpu_bench.plan import Step
from gpu_bench.session import gpu_name
from harness.facts import ROOT

if TYPE_CHECKING:
    from kernel_bench.points import KernelPoint

CORE, COMPILED = "^(autophage|eager|product)$", "^compile$"
RESERVE_SECONDS = 10.0
"""Seconds before the end of the step's planned time after which no point and no test starts. One may take so long."""
TESTS = "tests/kernels/test_gpu.py"
INTERPRETED = ("tests/kernels/interpreted/test_faults.py", "-k", "vllm")
"""Tests of a quick step on a CPU: a few that the interpreter runs in seconds."""


def kernels(step: Step, evidence: Evidence, folder: Path) -> None:
    """Worker: this repository, eager torch and the bare product at every point."""
    _sweep(step, evidence, CORE)


def compiled(step: Step, evidence: Evidence, folder: Path) -> None:
    """Worker: torch.compile at every point. Compiling takes longer than measuring, so it comes after the tests."""
    _sweep(step, evidence, COMPILED)


def _sweep(step: Step, evidence: Evidence, contenders: str) -> None:
    import torch

    from kernel_bench.contenders import OURS
    from kernel_bench.machine import describe, measure_limits
    from kernel_bench.report import KernelMeasurement
    from kernel_bench.sweep import Sweep

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    small = bool(evidence.parameters["quick"])
    if device.type == "cpu":
        torch.set_num_threads(1)
    machine, limits = describe(device), measure_limits(device)
    copied, product = limits.bandwidth / 1e9, limits.throughput / 1e12
    evidence.add("limits", "copy", "bandwidth", "GB/s", [copied])
    evidence.add("limits", "product", "throughput", "TFLOP/s", [product])

    def emit(row: KernelMeasurement) -> None:
        if row.ms is None and row.contender == OURS:
            evidence.failures += 1
        evidence.write(evidence.facts | row.record(machine, limits))

    done = {(row["name"], row["contender"]) for row in evidence.earlier if row.get("ms") is not None}
    left = ends(step, evidence) - time.time()
    sweep = Sweep(small_points() if small else points(), device, left, emit, contenders, done=done)
    sweep.run()
    for name in sweep.unmeasured:
        evidence.fail(name, "budget", "the step's time was spent before")


def ends(step: Step, evidence: Evidence) -> float:
    """Time after which nothing starts. Part a keeps to its planned time, whatever the budget is."""
    return float(evidence.parameters["launched"]) + step.seconds - RESERVE_SECONDS


def points() -> list[KernelPoint]:
    """The points that decide: sampling and scoring by rows of 128,256 logits, the fused head, their backward, divergences."""
    from kernel_bench.points import KernelPoint

    llama = 128_256
    return [
        KernelPoint("logits", "three", 8192, llama),
        KernelPoint("head", "three", 8192, llama, hidden=2048),
        KernelPoint("logits", "all", 8192, llama, data="zipf"),
        KernelPoint("logits", "three", 256, llama),
        KernelPoint("head", "two", 8192, llama, direction="both", hidden=2048, data="zipf"),
        KernelPoint("logits", "two", 8192, llama, direction="backward"),
        KernelPoint("pair", "kl", 8192, llama),
        KernelPoint("head", "three", 8192, llama, hidden=4096),
        KernelPoint("head", "two", 8192, llama, direction="both", hidden=4096, data="zipf"),
        KernelPoint("heads", "kl", 8192, llama, hidden=2048),
        KernelPoint("pair", "kl", 8192, llama, direction="both", data="zipf"),
        KernelPoint("logits", "all", 64, llama),
    ]


def small_points() -> list[KernelPoint]:
    """One point of each task, small enough for a CPU."""
    from kernel_bench.points import KernelPoint

    return [
        KernelPoint("logits", "three", 8, 3000, "fp32"),
        KernelPoint("logits", "two", 8, 3000, "fp32", direction="both"),
        KernelPoint("head", "two", 8, 3000, "fp32", direction="both", hidden=64),
        KernelPoint("pair", "kl", 8, 3000, "fp32"),
    ]


class TestRows:
    """A pytest plugin that writes one row for each test as it ends.

    Tests that passed in an earlier command are left out. None starts after `ends`.
    """

    __test__ = False

    def __init__(self, evidence: Evidence, ends: float) -> None:
        self._evidence, self._ends = evidence, ends
        self._seconds = 0.0
        self.left_out = 0

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        passed = {row["point"] for row in self._evidence.earlier if row.get("contender") == "test" and row["values"]}
        self.left_out = sum(_name(item.nodeid) in passed for item in items)
        items[:] = [item for item in items if _name(item.nodeid) not in passed]

    def pytest_runtest_protocol(self, item: Any) -> bool | None:
        """Take the place of a test that must not start any more. None lets pytest run it."""
        if time.time() <= self._ends:
            return None
        item.session.shouldstop = "the planned time of the step is spent"
        self._evidence.fail("tests", "budget", f"the step's time was spent before {_name(item.nodeid)}")
        return True

    def pytest_runtest_logreport(self, report: Any) -> None:
        point = _name(report.nodeid)
        self._seconds = report.duration + (self._seconds if report.when != "setup" else 0.0)
        if report.failed:
            self._evidence.fail(point, "test", f"{report.when}: {_last_line(report.longreprtext)}")
        elif report.skipped:
            self._evidence.add(point, "test", "", "", [], f"skipped: {_last_line(report.longreprtext)}")
        elif report.when == "call":
            self._evidence.add(point, "test", "passed in", "s", [self._seconds])

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self._evidence.fail(_name(report.nodeid), "test", f"collection: {_last_line(report.longreprtext)}")


def tests(step: Step, evidence: Evidence, folder: Path) -> None:
    """Worker: the kernels' tests on the GPU; in a quick step on a CPU, a file of them under Triton's interpreter.

    Neither the suite's conftest nor its settings nor plugins are loaded: they need the engine, and packages that may be missing.
    """
    if not (ROOT / TESTS).is_file():
        evidence.add("tests", "test", "", "", [], "left out: an installed package has no tests; use a checkout")
        return
    on_gpu = bool(gpu_name())
    if not on_gpu:
        os.environ["TRITON_INTERPRET"] = "1"
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    import pytest

    options = ["-q", "-c", os.devnull, "--rootdir", str(ROOT), "--confcutdir", str(ROOT / "tests" / "kernels")]
    more = ["--import-mode=importlib", "-p", "no:cacheprovider", "-W", "ignore", "--tb=short"]
    os.chdir(ROOT)
    # The tests import each other as `tests.kernels`. Some package may have installed a `tests` of its own.
    own = ModuleType("tests")
    own.__path__ = [str(ROOT / "tests")]
    sys.modules["tests"] = own
    rows = TestRows(evidence, ends(step, evidence))
    code = pytest.main([*options, *more, *([TESTS] if on_gpu else INTERPRETED)], plugins=[rows])
    if not (code in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED) or rows.left_out or evidence.failures):
        evidence.fail("tests", "pytest", f"exit code {int(code)}")


def _name(nodeid: str) -> str:
    return nodeid.removeprefix("tests/kernels/")


def _last_line(text: str) -> str:
    """The assertion that failed: the last line that pytest marks as an error, else the last line."""
    lines = [line for line in text.strip().splitlines() if line.strip()]
    marked = [line[1:].strip() for line in lines if line.startswith("E")]
    return (marked or lines or [""])[0 if marked else -1][:300]
