"""bench/first_gpu.py without a GPU: plan, budget, rows of steps that are killed, resume, and part a without the engine."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.bench.conftest import BENCH, Load

from gpu_bench import evidence, plan, session, summary
from gpu_bench.plan import Step

NOTHING = {"device": "none", "commit": "none"}


def everything(package: str) -> bool:
    return True


def test_the_first_parts_fit_two_commands_and_part_a_five_minutes() -> None:
    steps = [step for step in plan.full() if not plan.why_not(step, everything)]
    commands = dict(zip((step.key for step in steps), plan.commands(steps, plan.BUDGET), strict=True))
    assert set("".join(step.parts for step in steps)) == set(plan.PARTS)
    assert sum(step.seconds for step in steps if step.parts == "a") < 300
    assert [key for key, command in commands.items() if command == 1] == [
        "kernels",
        "tests",
        "compiled",
        "swap-8b",
        "arm-1b",
    ]
    assert set(commands.values()) == {1, 2}


def test_a_plan_of_commands_by_hand() -> None:
    steps = [Step("a", name, "", seconds) for name, seconds in (("x", 60), ("y", 50), ("z", 30), ("never", 200))]
    assert plan.commands(steps, 100) == [1, 2, 1, None]


def test_a_step_starts_if_its_planned_time_is_left_and_gets_half_as_much_again() -> None:
    step = Step("a", "x", "", 100)
    assert plan.deadline(step, 99.9) is None
    assert plan.deadline(step, 100) == 100
    assert plan.deadline(step, 120) == 120
    assert plan.deadline(step, 1000) == 150


def test_without_vllm_the_kernels_run_and_the_trainer_alone() -> None:
    bare = [step.key for step in plan.full() if not plan.why_not(step, lambda package: package in ("torch", "triton"))]
    assert bare == ["kernels", "compiled"]
    without = [step.key for step in plan.full() if not plan.why_not(step, lambda package: package != "vllm")]
    assert without == ["kernels", "tests", "compiled", "train-1b", "train-8b"]


def test_a_quick_plan_has_every_step() -> None:
    steps = plan.quick()
    assert [step.name for step in steps] == list(dict.fromkeys(step.name for step in plan.full()))
    assert {step.shape for step in steps} == {"", "tiny"}
    assert sum(step.seconds for step in steps if not plan.why_not(step, everything)) <= plan.QUICK_BUDGET


def test_parts_and_steps_are_chosen_by_name() -> None:
    assert [step.key for step in plan.chosen(plan.full(), ["b", "plain-1b"])] == ["swap-8b", "plain-1b"]
    assert [step.key for step in plan.chosen(plan.full(), ["c"])] == ["arm-1b"]
    with pytest.raises(ValueError, match=r"--only knows a, .*; got z"):
        plan.chosen(plan.full(), ["z"])


def test_a_dry_run_needs_the_standard_library_only() -> None:
    done = subprocess.run(
        [sys.executable, "-E", "-S", str(BENCH / "first_gpu.py"), "--dry-run"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(r"a +kernels +torch, triton +1\.7 +not here", done.stdout)
    assert "Not here: tax-8b: needs torch, transformers" in done.stdout
    assert "Lower bound of a generation, 1b, 2048 samples of 256 tokens: 4." in done.stdout


def test_mistakes_are_named(load: Load, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = load("first_gpu")
    assert first.main(["--only", "everything"]) == 2
    assert "--only knows a, arm-1b" in capsys.readouterr().err
    if not session.gpu_name():
        assert first.main(["--only", "a", "--out", str(tmp_path / "rows.jsonl")]) == 2
        assert "no GPU here" in capsys.readouterr().err
        assert not (tmp_path / "rows.jsonl").exists()


def script(tmp_path: Path, body: str) -> Path:
    """A benchmark whose steps do as `body` says."""
    path = tmp_path / "steps.py"
    path.write_text(
        f"import sys, time, os\nfrom pathlib import Path\nsys.path.insert(0, {str(BENCH)!r})\n"
        f"from gpu_bench import session\n{body}\n"
        "if __name__ == '__main__':\n"
        "    sys.exit(session.work({k: v for k, v in globals().items()}, sys.argv[2], Path(sys.argv[3])))\n",
        "utf-8",
    )
    return path


STEPS = """
def hangs(step, rows, folder):
    rows.add("hangs", "ours", "rate", "tokens/s", [1.0])
    time.sleep(600)
def dies(step, rows, folder):
    rows.add("dies", "ours", "rate", "tokens/s", [2.0])
    os.kill(os.getpid(), 9)
def works(step, rows, folder):
    rows.add("works", "ours", "rate", "tokens/s", [3.0 + len(rows.values("hangs", "ours", "rate"))])
def breaks(step, rows, folder):
    rows.fail("breaks", "ours", "no such shape")
    rows.add("breaks", "theirs", "rate", "tokens/s", [4.0])
"""


def steps(*names: str, seconds: float = 20) -> list[Step]:
    return [Step("a", name, "", seconds, needs=()) for name in names]


def run(tmp_path: Path, chosen: Sequence[Step], budget: float = 600) -> tuple[bool, list[Mapping[str, Any]]]:
    out = tmp_path / "rows.jsonl"
    before = len(evidence.read(out))
    failed = session.run(script(tmp_path, STEPS), chosen, budget, out, NOTHING, quick=True)
    return failed, evidence.read(out)[before:]


def figures(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, list[float]]]:
    return [(row["point"], row["contender"], row["values"]) for row in rows if row["contender"] != evidence.STEP]


def test_a_step_that_is_killed_leaves_its_rows_and_the_others_run(tmp_path: Path) -> None:
    chosen = [*steps("hangs", seconds=2), *steps("dies", "works")]
    failed, rows = run(tmp_path, chosen)
    assert failed
    assert figures(rows) == [("hangs", "ours", [1.0]), ("dies", "ours", [2.0]), ("works", "ours", [4.0])]
    notes = {row["step"]: row["note"] for row in rows if row["contender"] == evidence.STEP}
    assert "was ended after 3 s" in notes["hangs"]
    assert "exit code -9" in notes["dies"]
    assert notes["works"] == ""
    assert {(row["benchmark"], row["part"], row["device"]) for row in rows} == {("first_gpu", "a", "none")}


def test_a_measurement_that_fails_leaves_its_reason_and_fails_the_step(tmp_path: Path) -> None:
    failed, rows = run(tmp_path, steps("breaks"))
    assert failed
    assert figures(rows) == [("breaks", "ours", []), ("breaks", "theirs", [4.0])]
    assert rows[0]["note"] == "failed: no such shape"
    assert "1 measurement(s) failed" in (tmp_path / "rows.log").read_text("utf-8")


def test_the_same_command_goes_on_where_the_first_ended(tmp_path: Path) -> None:
    _, rows = run(tmp_path, steps("works"))
    assert figures(rows) == [("works", "ours", [3.0])]
    _, rows = run(tmp_path, steps("dies"))
    failed, rows = run(tmp_path, steps("dies", "breaks", "works"))
    assert failed
    assert [row["step"] for row in rows if row["contender"] == evidence.STEP] == [
        "breaks",
        "dies",
    ]  # the failed one is last
    assert not any(row["step"] == "works" for row in rows)


def test_a_step_that_does_not_fit_is_named_and_left_out(tmp_path: Path) -> None:
    failed, rows = run(tmp_path, [*steps("hangs", seconds=100), *steps("works")], budget=50)
    assert not failed
    assert [(row["step"], row["note"]) for row in rows if not row["values"]] == [
        ("hangs", "left out: takes 100 s, and 50 s of the budget were left")
    ]
    assert figures(rows) == [("works", "ours", [3.0])]
    missing = Step("a", "works", "other", 1, needs=("no_such_package",))
    failed, rows = run(tmp_path, [missing])
    assert [row["note"] for row in rows] == ["left out: needs no_such_package, not installed here"]


def test_a_command_that_is_killed_leaves_rows_and_no_process(tmp_path: Path) -> None:
    out, told = tmp_path / "rows.jsonl", tmp_path / "pid"
    body = STEPS.replace("time.sleep(600)", f"open({str(told)!r}, 'w').write(str(os.getpid())); time.sleep(600)")
    caller = f"""
import sys
sys.path.insert(0, {str(BENCH)!r})
from gpu_bench import session
from gpu_bench.plan import Step
from pathlib import Path
step = Step("a", "hangs", "", 300, needs=())
session.run(Path({str(script(tmp_path, body))!r}), [step], 600, Path({str(out)!r}), {{}}, quick=True)
"""
    process = subprocess.Popen([sys.executable, "-c", caller])
    wait_for(lambda: told.exists() and told.read_text("utf-8") != "")
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_for(lambda: not alive(told.read_text("utf-8")))
    assert figures(evidence.read(out)) == [("hangs", "ours", [1.0])]
    with out.open("a", encoding="utf-8") as file:
        file.write('{"benchmark": "first_gpu", "cut o')
    _, rows = run(tmp_path, steps("works"))
    assert figures(rows) == [("works", "ours", [4.0])]
    assert len(out.read_text("utf-8").splitlines()) == 4


def wait_for(condition: Any, seconds: float = 60) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.05)


def alive(pid: str) -> bool:
    try:
        return Path("/proc", pid, "stat").read_text("ascii").rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


BLOCKED = ("autophage", "vllm", "ray", "transformers", "trl", "peft", "datasets", "pydantic", "pyarrow", "hypothesis")
BLOCKER = f"""
import sys
from importlib.machinery import ModuleSpec
class Blocker:
    def find_spec(self, name, path=None, target=None):
        return ModuleSpec(name, self) if name.split(".")[0] in {BLOCKED!r} else None
    def create_module(self, spec):
        raise ImportError(f"{{spec.name}} is blocked")
    def exec_module(self, module):
        pass
sys.meta_path.insert(0, Blocker())
"""


@pytest.mark.thorough
@pytest.mark.timeout(300)
def test_part_a_needs_neither_the_engine_nor_its_dependencies(tmp_path: Path) -> None:
    """Every process of the part refuses to import them. The step of torch.compile has nothing to measure on a CPU."""
    (tmp_path / "sitecustomize.py").write_text(BLOCKER, "utf-8")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "__init__.py").write_text("raise ImportError('the tests of another package')", "utf-8")
    out = tmp_path / "rows.jsonl"
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    check = [sys.executable, "-c", "import autophage"]
    assert b"is blocked" in subprocess.run(check, env=environment, capture_output=True, check=False).stderr
    command = [sys.executable, str(BENCH / "first_gpu.py"), "--quick", "--only", "kernels,tests", "--out", str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    rows = evidence.read(out)
    times = {(row["task"], row["direction"], row["contender"]): row for row in rows if "ms" in row}
    for task, direction in (("logits", "forward"), ("logits", "both"), ("head", "both"), ("pair", "forward")):
        for contender in ("autophage", "eager"):
            row = times[task, direction, contender]
            assert row["ms"] > 0
            assert row["error"] < 1e-4
            assert row["versions"]["torch"]
    tests = [row for row in rows if row.get("contender") == "test"]
    assert len(tests) >= 4
    assert all(row["values"] and not row["note"] for row in tests)
    assert f"tests of the kernels: {len(tests)} passed, 0 failed" in done.stdout


PYTEST = """
import sys, time
sys.path.insert(0, sys.argv[1])
import gpu_bench
from pathlib import Path
import pytest
from gpu_bench.evidence import Evidence
from gpu_bench.kernels import TestRows
rows = TestRows(Evidence(Path("rows.jsonl"), "tests", "a", {}, {}), time.time() + float(sys.argv[2]))
pytest.main(["-q", "-p", "no:cacheprovider", "-c", "/dev/null", "test_it.py"], plugins=[rows])
"""


def test_each_test_is_a_row_and_runs_until_it_passed_once(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "def test_one(): pass\ndef test_two(): assert 1 == 2\ndef test_three(): import no_such_module\n", "utf-8"
    )

    def rows(seconds: float) -> list[tuple[str, str]]:
        before = len(evidence.read(tmp_path / "rows.jsonl"))
        command = [sys.executable, "-c", PYTEST, str(BENCH), str(seconds)]
        subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=120, check=False)
        return [(row["point"], row["note"]) for row in evidence.read(tmp_path / "rows.jsonl")[before:]]

    assert rows(-1) == [("tests", "failed: the step's time was spent before test_it.py::test_one")]
    failures = [
        ("test_it.py::test_two", "failed: call: assert 1 == 2"),
        ("test_it.py::test_three", "failed: call: ModuleNotFoundError: No module named 'no_such_module'"),
    ]
    assert rows(60) == [("test_it.py::test_one", ""), *failures]
    assert rows(60) == failures


def test_a_summary_shows_the_last_attempt(tmp_path: Path) -> None:
    rows = evidence.Evidence(tmp_path / "rows.jsonl", "tests", "a", NOTHING, {})
    rows.fail("one", "test", "assert 1 == 2")
    rows.add("one", "test", "passed in", "s", [1.0])
    rows.fail("two", "test", "assert 1 == 3")
    rows.fail("tax", "autophage", "out of memory")
    rows.add("tax", "autophage", "rate", "tokens/s", [5.0])
    shown = summary.text(evidence.read(tmp_path / "rows.jsonl"))
    assert "tests of the kernels: 1 passed, 1 failed" in shown
    assert "assert 1 == 3" in shown
    assert "out of memory" not in shown
    assert json.loads((tmp_path / "rows.jsonl").read_text("utf-8").splitlines()[-1])["median"] == 5.0
