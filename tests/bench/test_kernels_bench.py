"""bench/kernels.py: costs of points, contenders and readings of rows.

One small run uses a CPU. GPU paths use stand-ins.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from tests.present import present

from kernel_bench import field as fields
from kernel_bench import peers, sweep, tune
from kernel_bench.accuracy import largest_error, truth
from kernel_bench.contenders import EAGER, OURS, Absent, Implementation, eager, ours
from kernel_bench.field import field
from kernel_bench.inputs import make
from kernel_bench.machine import MachineFacts
from kernel_bench.points import KernelPoint, Limits, cpu_points, gpu_points
from kernel_bench.report import KernelMeasurement, absences, cpu_verdicts, headlines, table
from kernel_bench.sweep import Sweep, gradients
from kernel_bench.timing import Timing, interleaved, peak_bytes

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
LIMITS = Limits(bandwidth=4.3e12, throughput=790e12)
MACHINE = MachineFacts("a device", "a driver", "2", "3", "abc", "2026-01-01T00:00:00+00:00")
SMALL = [
    KernelPoint("logits", "three", 4, 300, "fp32", data="zipf"),
    KernelPoint("logits", "two", 4, 300, "fp32", direction="both"),
    KernelPoint("logits", "two", 4, 300, "fp32", direction="backward"),
    KernelPoint("pair", "jsd", 4, 300, "fp32"),
    KernelPoint("head", "two", 4, 300, "fp32", hidden=16, data="zipf", direction="both"),
    KernelPoint("heads", "onepass", 4, 300, "fp32", hidden=16),
]


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch serves, whatever other tests asked of the environment."""
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setenv("AUTOPHAGE_KERNELS", "torch")


def test_ideal_times_are_those_of_the_bytes_or_of_the_products() -> None:
    forward = KernelPoint("logits", "three", 8192, 128_256)
    assert forward.ideal_ms(LIMITS) == pytest.approx(0.489, abs=1e-3)
    assert KernelPoint("logits", "two", 8192, 128_256, direction="backward").bytes == 2 * forward.bytes
    assert KernelPoint("logits", "two", 8192, 128_256, direction="both").bytes == 3 * forward.bytes
    assert KernelPoint("pair", "kl", 8192, 128_256).bytes == 2 * forward.bytes
    head = KernelPoint("head", "three", 8192, 128_256, hidden=2048)
    assert head.ideal_ms(LIMITS) == pytest.approx(5.45, abs=1e-2)
    assert KernelPoint("head", "two", 8192, 128_256, direction="both", hidden=2048).flops == 3 * head.flops
    assert KernelPoint("head", "two", 64, 128_256, hidden=2048).ideal_ms(LIMITS) == pytest.approx(0.122, abs=1e-3)


@pytest.mark.parametrize("points", [gpu_points(), cpu_points()], ids=["gpu", "cpu"])
def test_points_have_names_of_their_own(points: list[KernelPoint]) -> None:
    assert len({point.name for point in points}) == len(points)
    assert {point.data for point in points} > {"normal"}


@pytest.mark.parametrize(
    "point", [*SMALL, KernelPoint("logits", "all", 4, 300, "bf16", data="ramp")], ids=lambda p: p.name
)
def test_ours_and_eager_torch_agree_with_the_truth(point: KernelPoint, plain: None) -> None:
    inputs = make(point, CPU)
    exact = truth(inputs)
    for maker in (ours, eager):
        (contender,) = maker(point, CPU)
        assert isinstance(contender, Implementation)
        outputs = contender.forward(inputs)
        assert present(largest_error(outputs, exact)) < 1e-4
        if point.direction != "forward":
            assert [grad.shape for grad in gradients(outputs, inputs)] == [leaf.shape for leaf in inputs.leaves]


def test_zipf_logits_are_peaked() -> None:
    exact = truth(make(KernelPoint("logits", "two", 8, 20_000, data="zipf"), CPU))
    assert 0 < exact["entropy"].mean() < 6


def test_everyone_runs_or_says_why() -> None:
    for point in SMALL:
        entries = field(point, CPU)
        assert {entry.name for entry in entries} >= {OURS, EAGER, "compile", "trl", "liger", "cce", "quack", "fla"}
        assert all(entry.reason for entry in entries if isinstance(entry, Absent))
    lines = absences([(SMALL[0], entry) for entry in field(SMALL[0], CPU) if isinstance(entry, Absent)])
    assert any(line.startswith("  cce: has no kernel for the task 'logits'") for line in lines)


def test_a_peer_that_is_not_installed_is_named() -> None:
    serves: dict[str, Any] = {"head": lambda inputs: {}}
    (entry,) = peers.peer("someone", "some-package", "no_such_module_here.inner", SMALL[4], CPU, serves=serves)
    assert entry == Absent("someone", "not installed (no module no_such_module_here)")


@pytest.mark.slow
def test_trl_is_called_as_it_is_meant_to_be() -> None:
    pytest.importorskip("trl.kernels")
    for point in (SMALL[4], KernelPoint("heads", "kl", 4, 300, "fp32", hidden=16)):
        (contender,) = peers.trl(point, CPU)
        inputs = make(point, CPU)
        assert isinstance(contender, Implementation)
        assert present(largest_error(contender.forward(inputs), truth(inputs))) < 1e-4


def test_memory_on_a_cpu_is_what_torch_allocates() -> None:
    x = torch.ones(1 << 20)
    assert peak_bytes(lambda: (x + 1) * 2, CPU) == pytest.approx(2 * x.nbytes, rel=1e-4)


def test_turns_are_taken() -> None:
    turns: list[str] = []
    times = interleaved({"a": lambda: turns.append("a"), "b": lambda: turns.append("b")}, repeats=3)
    assert turns == ["a", "b"] * 4
    assert all(timing.low <= timing.ms <= timing.high for timing in times.values())


def run_with_stand_ins(
    monkeypatch: pytest.MonkeyPatch, points: list[KernelPoint], budget_s: float = 3600
) -> tuple[Sweep, list[KernelMeasurement]]:
    """Run the GPU path of a sweep on a CPU. Only clocks and memory counters are replaced."""

    def once(call: object) -> Timing:
        call()  # type: ignore[operator]
        return Timing(1.0, 0.9, 1.1)

    monkeypatch.setattr(sweep, "flushed", once)
    monkeypatch.setattr(sweep, "graphed", lambda calls: next(once(call) for call in calls))
    monkeypatch.setattr(sweep, "peak_bytes", lambda call, device: 100)
    monkeypatch.setattr(sweep, "COLD_BYTES", 0)
    rows: list[KernelMeasurement] = []
    made = Sweep(points, CPU, budget_s, rows.append)

    def on_gpu(point: KernelPoint, contenders: list[Implementation]) -> None:
        for one in contenders:
            made._on_gpu(point, one)

    monkeypatch.setattr(made, "_on_cpu", on_gpu)
    made.run()
    return made, rows


def test_a_sweep_of_a_gpu(monkeypatch: pytest.MonkeyPatch, plain: None) -> None:
    made, rows = run_with_stand_ins(monkeypatch, SMALL)
    assert not made.failed
    mine = [(row.point.direction, row.method) for row in rows if row.contender == OURS]
    assert [method for direction, method in mine if direction == "forward"] == ["flushed", "cold", "hot"] * 3
    assert [method for direction, method in mine if direction != "forward"] == ["flushed"] * 3
    shown = table(rows, LIMITS)
    assert headlines(rows, LIMITS)[0].endswith("1.00x the time of eager")
    assert all(point.name in shown for point in SMALL)
    record = json.loads(json.dumps(rows[0].record(MACHINE, LIMITS)))
    assert record["device"] == "a device"
    assert record["fraction_of_ideal"] == pytest.approx(record["ideal_ms"] / record["ms"])


def test_what_breaks_leaves_a_note_and_the_others_their_turn(monkeypatch: pytest.MonkeyPatch, plain: None) -> None:
    def broken(inputs: object) -> dict[str, torch.Tensor]:
        raise RuntimeError("no such instruction")

    def full(inputs: object) -> dict[str, torch.Tensor]:
        raise torch.OutOfMemoryError("a lot")

    entries = [Implementation("broken", broken), Implementation("full", full), *eager(SMALL[0], CPU)]
    monkeypatch.setattr(fields, "field", lambda point, device: entries)
    made, rows = run_with_stand_ins(monkeypatch, SMALL[:1])
    notes = {row.contender: row.note for row in rows if row.ms is None}
    assert notes["broken"] == "failed: RuntimeError: no such instruction"
    assert notes["full"] == "out of memory"
    assert EAGER in {row.contender for row in rows if row.ms}
    assert "full: out of memory" in table(rows, LIMITS)
    assert not made.failed


def test_a_spent_budget_names_what_was_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    made, rows = run_with_stand_ins(monkeypatch, SMALL[:1], budget_s=0)
    assert rows == []
    assert f"{SMALL[0].name}: {OURS}" in made.unmeasured


def test_targets_on_a_cpu() -> None:
    point = KernelPoint("logits", "all", 4, 300)
    rows = [
        KernelMeasurement(point, OURS, ms=14.0, ms_low=1, ms_high=2, peak_bytes=40),
        KernelMeasurement(point, EAGER, ms=10.0, ms_low=1, ms_high=2, peak_bytes=100),
    ]
    assert cpu_verdicts(rows)[0].startswith("  kept: ")
    assert cpu_verdicts([rows[0], KernelMeasurement(point, EAGER, ms=9.0, peak_bytes=100)])[0].startswith("  MISSED: ")


def test_tuning_sets_constants_and_puts_them_back(monkeypatch: pytest.MonkeyPatch, plain: None) -> None:
    launch_stats = pytest.importorskip("autophage_kernels.triton_kernels.launch_stats")
    before = {name: getattr(launch_stats, name) for name in ("BLOCK", "WARPS", "STAGES")}
    seen = []

    def clock(call: object) -> Timing:
        seen.append(tuple(getattr(launch_stats, name) for name in before))
        return Timing(float(len(seen)), 0.0, 9.0)

    small = tune.Tuning(tune.STATS, {"BLOCK": (1024, 2048), "WARPS": (4,), "STAGES": (2, 4)}, (SMALL[2],))
    monkeypatch.setattr(tune, "flushed", clock)
    monkeypatch.setitem(tune.TUNINGS, "small", small)
    records: list[dict[str, object]] = []
    lines = tune.run(["small"], CPU, 60, records.append)
    assert seen[0] == tuple(before.values())
    assert len(set(seen)) == len(seen) == len(records) >= 4
    assert {name: getattr(launch_stats, name) for name in before} == before
    assert any("today" in line for line in lines)


def test_every_tuning_names_constants_that_exist() -> None:
    pytest.importorskip("triton")
    for name, tuning in tune.TUNINGS.items():
        assert set(tune.today(tuning)) == set(tuning.values), name
        assert list(tuning.settings())


def test_nothing_is_timed_in_the_interpreter(
    command: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert command.main([]) == 2
    assert "TRITON_INTERPRET=1" in capsys.readouterr().err


def test_a_dry_run_lists_costs(command: ModuleType, plain: None, capsys: pytest.CaptureFixture[str]) -> None:
    asked = [
        "--dry-run",
        "--device",
        "cuda",
        "--bandwidth",
        "4.3",
        "--tflops",
        "790",
        "--only",
        "^logits/three/.*T8192",
    ]
    assert command.main(asked) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if "V128256/normal" in line and "bf16" in line)
    assert re.search(r"2101\.3 +0\.0 +0\.4887", line)


def test_a_pattern_without_points_and_an_unknown_tuning_are_refused(
    command: ModuleType, plain: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["--only", "nothing of the kind"]) == 2
    with pytest.raises(SystemExit):
        command.main(["--tune", "everything"])
    assert "--tune knows three" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_measures_on_a_cpu(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    environment = {
        key: value for key, value in os.environ.items() if key not in ("TRITON_INTERPRET", "AUTOPHAGE_KERNELS")
    }
    asked = ["--device", "cpu", "--only", "^pair", "--repeats", "2", "--out", str(file)]
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench" / "kernels.py"), *asked],
        capture_output=True, text=True, env=environment, check=False, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Absent:" in done.stdout
    rows = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    assert {row["contender"] for row in rows} == {OURS, EAGER}
    for row in rows:
        assert row["ms"] > 0
        assert row["peak_bytes"] > 0
        assert row["error"] < 1e-4
        assert row["commit"]
