"""The verb `bench`: its list, its calls and its results."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autophage.cli import benchmarking, main

pytestmark = pytest.mark.thorough

NAMES = {"arms", "exactness", "first_gpu", "kernels", "loop", "monitor", "overlap", "score", "swap", "trainer"}


@pytest.fixture
def scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of benchmarks in place of the real one."""
    monkeypatch.setattr(benchmarking, "benchmarks", lambda: {path.stem: path for path in sorted(tmp_path.glob("*.py"))})
    return tmp_path


def test_without_a_name_it_lists_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["name"] for row in rows} >= NAMES
    assert all(row["description"] and Path(row["path"]).is_file() for row in rows)
    assert main(["bench"]) == 0
    assert "loop" in capsys.readouterr().out


def test_a_wrong_name_is_told_what_was_meant(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "swaps", "--quick"]) == 2
    assert "Did you mean swap?" in capsys.readouterr().err


@pytest.mark.parametrize("code", [0, 1, 2, 130])
def test_arguments_go_in_and_the_exit_code_comes_out(
    scripts: Path, code: int, capfd: pytest.CaptureFixture[str]
) -> None:
    (scripts / "echo.py").write_text("import sys\nprint(sys.argv[1:])\nsys.exit(int(sys.argv[1]))\n", "utf-8")
    assert main(["bench", "echo", str(code), "--json", "--help", "--set", "a=b"]) == code
    assert capfd.readouterr().out == f"['{code}', '--json', '--help', '--set', 'a=b']\n"


def test_a_benchmark_that_a_signal_ends_has_failed(scripts: Path) -> None:
    (scripts / "dies.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n", "utf-8")
    assert main(["bench", "dies"]) == 1


def test_ctrl_c_reaches_the_benchmark(tmp_path: Path) -> None:
    """SIGTERM, as a cluster sends it, ends the script. The verb returns 130."""
    (tmp_path / "waits.py").write_text(
        f"import pathlib, time\nhere = pathlib.Path({str(tmp_path)!r})\n"
        "try:\n    (here / 'began').touch()\n    time.sleep(600)\n"
        "except KeyboardInterrupt:\n    (here / 'told').touch()\n",
        "utf-8",
    )
    script = (
        "import pathlib, sys\nfrom autophage.cli import benchmarking, main\n"
        f"benchmarking.benchmarks = lambda: {{'waits': pathlib.Path({str(tmp_path / 'waits.py')!r})}}\n"
        "sys.exit(main(['bench', 'waits']))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], env=dict(os.environ))
    deadline = time.monotonic() + 60
    while not (tmp_path / "began").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 130
    assert (tmp_path / "told").exists()


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_benchmark_has_help_with_an_example(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "autophage", "bench", name, "--help"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"bench {name}" in done.stdout or f"bench/{name}.py" in done.stdout
    assert "usage" in done.stdout
