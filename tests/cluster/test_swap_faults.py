"""Every fault of a swap is caught, rolled back and reported, and nothing is committed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Contents = Callable[[Path], dict[str, object]]
Run = Callable[..., "subprocess.CompletedProcess[str]"]

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(600)]

SMALL = {"sweep": "{}", "control.enabled": "false", "generations": "1", "sample.count": "12", "measure.drift": "false"}
COMMAND = ["run", "smoke", *(word for key, value in SMALL.items() for word in ("--set", f"{key}={value}"))]

SPOILED = Path(__file__).with_name("faults")

FAULTS = {
    "stale": "a stale adapter, that of the generation before",
    "half": "half of an adapter",
    "base": "an adapter on another base",
    "scale": "an adapter with another scale",
    "module": "an adapter without one of its modules",
    "arm": "another arm's adapter",
}
SAMPLED = ("stale", "half")
"""A fault that the canary finds, and one that the digest finds."""


@pytest.fixture(scope="module")
def whole(autophage: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound run of one arm and one trained generation."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    done = autophage(*COMMAND, "--out", out)
    assert done.returncode == 0, done.stderr[-2000:]
    return out


@pytest.mark.parametrize(
    "fault", [*SAMPLED, *(pytest.param(one, marks=pytest.mark.long) for one in FAULTS if one not in SAMPLED)]
)
def test_it_is_caught_rolled_back_and_reported(
    fault: str, whole: Path, contents: Contents, variables: dict[str, str], autophage: Run, tmp_path: Path
) -> None:
    out, trace = tmp_path / "run", tmp_path / "trace"
    shutil.copytree(whole, out)
    shutil.rmtree(out / "arms/main/gen-001")
    done = subprocess.run(
        [sys.executable, "-m", "autophage", *COMMAND, "--out", str(out)],
        env={
            **variables,
            "PYTHONPATH": str(SPOILED),
            "AUTOPHAGE_TEST_FAULT": f"swap-{fault}",
            "AUTOPHAGE_TEST_TRACE": str(trace),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    reason = "is not the one that was sent" if fault == "half" else "canary log-probs differ"
    assert done.returncode == 1, f"{FAULTS[fault]} was served: {done.stdout[-500:]}{done.stderr[-2000:]}"
    assert reason in done.stderr
    assert "Traceback" not in done.stderr

    held = [json.loads(line) for line in trace.read_text("utf-8").splitlines()]
    # Before it was installed, after that, and where there was something to take back, after that.
    assert [len(ids) for ids in held] == ([0, 0] if fault == "half" else [0, 1, 0]), "it was not rolled back"

    last = json.loads((out / "events.jsonl").read_text("utf-8").splitlines()[-1])
    assert last["kind"] == "failed"
    assert reason in last["error"]
    assert [path.parent.name for path in out.glob("arms/*/gen-*/manifest.json")] == ["gen-000"]

    if fault == "module":  # the way on is the same after each
        assert autophage(*COMMAND, "--out", out).returncode == 0
        assert contents(out) == contents(whole)
