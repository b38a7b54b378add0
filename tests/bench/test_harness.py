"""Shared parts of the benchmarks: statistics, turns, rows, targets, command line and processes.

Also covered are recipes and the speed of light.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autophage.errors import RunError, UserError
from autophage.recipe import load_recipe
from harness import light, processes, runs
from harness.command import Benchmark, BenchmarkResults, counts
from harness.rows import File, Measurement, aligned, results_file, rows_of, table, values_of
from harness.shapes import SHAPES
from harness.statistics import Spread, percentile, quarters, ratios, spread
from harness.subject import Loop, loop_of, write_recipe
from harness.targets import Target
from harness.turns import Budget, Taken, take_turns


def test_quartiles_and_ratios() -> None:
    assert spread([4.0, 1.0, 3.0, 2.0, 5.0]) == Spread(2.0, 3.0, 4.0)
    assert spread([7.0]) == Spread(7.0, 7.0, 7.0)
    assert ratios([2.0, 9.0, 1.0], [1.0, 3.0]) == [2.0, 3.0]
    assert percentile([float(n) for n in range(1, 101)], 0.95) == 95
    assert percentile([3.0], 0.5) == 3.0
    assert quarters([1.0, 1.0, 5.0, 5.0, 5.0, 5.0, 2.0, 2.0]) == (1.0, 2.0)


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [float("inf")]])
def test_what_is_not_finite_is_no_result(values: list[float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        spread(values)


def test_turns_alternate_and_a_failure_leaves_the_others_theirs() -> None:
    turns: list[str] = []

    def good() -> dict[str, float]:
        turns.append("good")
        return {"seconds": float(len(turns))}

    def bad() -> dict[str, float]:
        turns.append("bad")
        if len(turns) > 3:
            raise RunError("it broke")
        return {"seconds": 1.0}

    taken = take_turns({"good": good, "bad": bad}, 3, Budget(60))
    assert turns == ["good", "bad", "good", "bad", "good"]
    assert taken["good"].values == {"seconds": [1.0, 3.0, 5.0]}
    assert taken["bad"].values == {"seconds": [1.0]}
    assert taken["bad"].note == "failed: it broke"


def test_a_spent_budget_ends_after_a_whole_turn() -> None:
    taken = take_turns({"a": lambda: {"s": 1.0}, "b": lambda: {"s": 2.0}}, 5, Budget(0))
    assert [one.values["s"] for one in taken.values()] == [[1.0], [2.0]]
    assert taken["a"].note == "the budget was spent after 1 of 5 turns"


def test_rows_and_tables() -> None:
    taken = {"ours": Taken({"wall": [1.0, 2.0, 3.0]}), "theirs": Taken(note="failed: no such engine")}
    rows = rows_of("N 8", taken, {"wall": "s"})
    assert [(row.contender, row.median) for row in rows] == [("ours", 2.0), ("theirs", None)]
    assert values_of(rows, "N 8", "ours", "wall") == [1.0, 2.0, 3.0]
    assert values_of(rows, "N 8", "theirs", "wall") == []
    record = json.loads(json.dumps(rows[0].record("loop", {"samples": 8}, {"commit": "abc"})))
    assert (record["median"], record["low"], record["high"]) == (2.0, 1.5, 2.5)
    assert (record["benchmark"], record["parameters"], record["commit"]) == ("loop", {"samples": 8}, "abc")
    assert "median" not in rows[1].record("loop", {}, {})
    shown = table(rows)
    assert "theirs: failed: no such engine" in shown
    assert "1.5-2.5" in shown
    assert aligned([("a", "b", "c", "1"), ("aa", "b", "c", "10")])[0] == "  a   b  c   1"


def test_results_are_named_after_what_was_measured() -> None:
    path = results_file("loop", "NVIDIA H100 80GB HBM3", "2026-01-02T03:04:05+00:00")
    assert path.name == "loop-nvidia-h100-80gb-hbm3-2026-01-02.jsonl"
    assert path.parent.parts[-2:] == ("bench", "results")


def test_targets() -> None:
    assert Target("speed", 5.0, 5.0, "at least").kept is True
    assert Target("speed", 4.9, 5.0, "at least").line() == "  MISSED: speed: 4.9, at least 5"
    assert Target("time", 0.3, 1 / 3, "at most").kept is True
    assert Target("time", None, 1.0, "at most").line() == "  not measured: time: at most 1"


def benchmark(measure: object) -> Benchmark:
    return Benchmark("none", "Nothing.", "autophage bench none", 1.0, measure)  # type: ignore[arg-type]


def test_the_command_line_writes_rows_and_judges(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def measure(chosen: argparse.Namespace, budget: Budget, results: BenchmarkResults) -> None:
        results.add([Measurement("p", "ours", "wall", "s", [1.0] * chosen.repeats)], samples=4)
        results.judge(Target("speed", 9.0, 5.0, "at least"))

    out = tmp_path / "new" / "rows.jsonl"
    assert benchmark(measure).main(["--repeats", "3", "--out", str(out)]) == 0
    row, target = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert row["values"] == [1.0, 1.0, 1.0]
    assert row["parameters"]["samples"] == 4
    assert {"device", "versions", "commit", "date", "cores"} <= set(row)
    assert target["kept"] is True
    assert "kept: speed" in capsys.readouterr().out
    assert benchmark(measure).main(["--quick", "--json"]) == 0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["benchmark"] for line in printed] == ["none", "none"]


def test_exit_codes_of_a_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    def broken(chosen: argparse.Namespace, budget: Budget, results: BenchmarkResults) -> None:
        results.add([Measurement("p", "ours", "identical", "share", [0.5])])
        results.broken.append("identical 0.5")

    def refused(*_: object) -> None:
        raise UserError("--peers knows none")

    assert benchmark(broken).main(["--quick"]) == 1
    assert "error: identical 0.5" in capsys.readouterr().err
    assert benchmark(lambda *_: None).main(["--quick"]) == 1  # nothing was measured
    assert benchmark(refused).main(["--quick"]) == 2
    with pytest.raises(SystemExit) as wrong:
        benchmark(broken).main(["--repeats", "0"])
    assert wrong.value.code == 2


def test_lists_of_counts() -> None:
    assert counts("16,64") == [16, 64]
    with pytest.raises(argparse.ArgumentTypeError):
        counts("16,0")


def test_a_file_keeps_what_was_there(tmp_path: Path) -> None:
    for number in (1, 2):
        File(tmp_path / "rows.jsonl").append({"number": number})
    assert (tmp_path / "rows.jsonl").read_text("utf-8") == '{"number": 1}\n{"number": 2}\n'


def test_a_command_that_fails_shows_the_end_of_its_output(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('first'); raise SystemExit('no such model')"]
    with pytest.raises(RunError, match=r"exit code 1\nfirst\nno such model"):
        processes.run(command, processes.quiet(), 60, tmp_path / "log")


def test_a_command_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    script = "import subprocess, sys; p = subprocess.Popen(['sleep', '600']); print(p.pid, flush=True); p.wait()"
    with pytest.raises(RunError, match="was ended after 2 s"):
        processes.run([sys.executable, "-c", script], os.environ, 2, tmp_path / "log")
    child = (tmp_path / "log").read_text("utf-8").split()[0]
    deadline = time.monotonic() + 10
    while _alive(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(child)


def test_a_benchmark_that_is_terminated_ends_what_it_started(tmp_path: Path) -> None:
    script = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2] / "bench")!r})
from pathlib import Path
from harness import processes
from harness.command import Benchmark
def measure(*_):
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    processes.run([sys.executable, "-c", code], processes.quiet(), 600, Path({str(tmp_path / "log")!r}))
sys.exit(Benchmark("none", "", "", 1.0, measure).main(["--quick"]))
"""
    process = subprocess.Popen([sys.executable, "-c", script])
    log, deadline = tmp_path / "log", time.monotonic() + 60
    while not (log.exists() and log.read_text("utf-8")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.terminate()
    assert process.wait(60) == 130
    assert not _alive(log.read_text("utf-8").split()[0])


def _alive(pid: str) -> bool:
    """Running; a process whose parent has not asked for its end is not."""
    try:
        return Path("/proc", pid, "stat").read_text("ascii").rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_everybody_gets_the_same_threads() -> None:
    environment = processes.quiet()
    assert environment["OMP_WAIT_POLICY"] == "PASSIVE"
    assert environment["GOMP_SPINCOUNT"] == "2000"
    assert environment["OMP_NUM_THREADS"] == str(len(os.sched_getaffinity(0)))
    assert environment["HF_HUB_OFFLINE"] == "1"


def test_whoever_may_train_sees_one_gpu_and_a_run_sees_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers train in their own process, where TRL refuses several GPUs. A run deals its GPUs out itself."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    (tmp_path / "worker.py").write_text(f"""
import json, os, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[2] / "bench")!r})
from harness import processes
from harness.command import Benchmark
def visible(spec, folder):
    return {{"gpus": os.environ["CUDA_VISIBLE_DEVICES"]}}
def resident(spec, folder):
    processes.answer_all(lambda: lambda question: os.environ["CUDA_VISIBLE_DEVICES"])
    return {{}}
if "--phases" in sys.argv:
    Path(sys.argv[-1]).write_text(json.dumps({{"gpus": int(os.environ["CUDA_VISIBLE_DEVICES"])}}))
else:
    sys.exit(Benchmark("none", "", "", 1.0, print, workers={{"visible": visible, "resident": resident}}).main())
""")
    worker = tmp_path / "worker.py"
    assert processes.work(worker, "visible", {}, 60) == {"gpus": "5"}
    assert processes.work(worker, "visible", {}, 60, processes.plain_vllm(tuned=True)) == {"gpus": "5"}
    assert processes.script(worker, [], processes.quiet(), 60, tmp_path)["gpus"] == 5
    staying = processes.Resident(worker, "resident", {}, tmp_path / "staying", 60)
    try:
        assert staying.ask(None) == "5"
    finally:
        staying.end()
    command = [sys.executable, "-c", "import os; print(os.environ['CUDA_VISIBLE_DEVICES'])"]
    processes.run(command, processes.quiet(), 60, tmp_path / "log")
    assert (tmp_path / "log").read_text() == "5,7\n"


def test_vllm_of_others_starts_without_a_cuda_toolkit() -> None:
    assert processes.plain_vllm(tuned=False)["VLLM_USE_FLASHINFER_SAMPLER"] == "0"


def test_an_experiment_is_a_recipe(tmp_path: Path) -> None:
    loop = Loop("demo", samples=16, tokens=24, seeds=[3, 4], generations=2, devices="disjoint")
    assert Loop.of(json.loads(json.dumps(loop.as_spec()))) == loop
    loaded = load_recipe(str(write_recipe(loop, tmp_path)))
    recipe = loaded.recipe
    assert (recipe.base.hidden_size, recipe.base.layers, recipe.base.heads) == (192, 4, 3)
    assert (recipe.sample.count, recipe.max_tokens, recipe.sample.end) == (16, 24, "ignore")
    assert (recipe.model.rank, recipe.model.scale_numerator) == (loop.rank, loop.scale)
    assert (recipe.train.epochs, recipe.train.batch_size) == (loop.epochs, loop.batch_size)
    assert [arm.recipe.seed for arm in loaded.arms] == [3, 4]
    assert not any(arm.control for arm in loaded.arms)


def test_a_quick_experiment_is_small_whatever_the_options_say() -> None:
    chosen = argparse.Namespace(quick=True, shape="8b", tokens=999, epochs=9.0, batch_size=99, rank=99)
    assert loop_of(chosen, samples=4) == Loop("quick", samples=4, tokens=32, rank=8, batch_size=8)
    chosen.quick = False
    assert loop_of(chosen, samples=4).shape == "8b"


def test_the_time_of_arms_that_share_a_batch_counts_once() -> None:
    assert runs.union([(0, 2), (1, 3), (5, 6), (5, 6)]) == 4
    events = [
        {"kind": "run-start", "time": 0.0},
        {"kind": "stage-start", "time": 10.0, "arm": "a", "generation": 0, "stage": "sample"},
        {"kind": "stage-start", "time": 10.0, "arm": "b", "generation": 0, "stage": "sample"},
        {"kind": "stage-end", "time": 14.0, "arm": "a", "generation": 0, "stage": "sample"},
        {"kind": "stage-end", "time": 14.0, "arm": "b", "generation": 0, "stage": "sample"},
        {"kind": "stage-start", "time": 14.0, "arm": "a", "generation": 1, "stage": "train"},
        {"kind": "stage-end", "time": 17.0, "arm": "a", "generation": 1, "stage": "train"},
        {"kind": "run-end", "time": 18.0},
    ]
    assert runs.history(events) == {"working": 8.0, "sample": 4.0, "train": 3.0}


def test_shapes_have_the_sizes_of_their_models() -> None:
    assert SHAPES["1b"].parameters == pytest.approx(1.236e9, rel=1e-3)
    assert SHAPES["8b"].parameters == pytest.approx(8.03e9, rel=1e-3)
    assert SHAPES["1b"].kv_bytes_per_token() == 32_768
    assert SHAPES["8b"].kv_bytes_per_token() == 131_072
    assert 2 * SHAPES["8b"].adapter_parameters(16) == pytest.approx(84e6, rel=0.01)
    assert 2 * SHAPES["1b"].adapter_parameters(16) == pytest.approx(22.6e6, rel=0.01)


def test_the_speed_of_light() -> None:
    """50,000 samples of 256 tokens after 64 of 8B on an H200, by hand."""
    gpu = light.named("NVIDIA H200")
    assert gpu == light.GPUS["H200"]
    work = light.GenerationWork(
        parameters=8_030_000_000, weight_bytes=16_060_000_000, kv_bytes_per_token=131_072, adapter_bytes=84_000_000,
        samples=50_000, prompt=64, tokens=256, trained=320, concurrency=512,
    )  # fmt: skip
    prefill = 2 * 8.03e9 * 50_000 * 64 / 989e12
    assert prefill == pytest.approx(52, rel=0.01)
    assert light.sampling(work, gpu) - prefill == pytest.approx(208, rel=0.01)
    assert light.training(work, gpu) == pytest.approx(520, rel=0.01)
    few = light.GenerationWork(**{**vars(work), "concurrency": 64})
    assert light.sampling(few, gpu) - prefill == pytest.approx(736, rel=0.01)
    assert light.named("NVIDIA GeForce RTX 4090") is None
    assert light.named("NVIDIA H100 NVL") != light.named("NVIDIA H100 80GB HBM3")
