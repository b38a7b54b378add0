"""The same commands on a GPU."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]

pytestmark = [pytest.mark.gpu, pytest.mark.slow, pytest.mark.timeout(1200)]


def test_smoke_runs_on_the_gpu(autophage: Run, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = autophage("run", "smoke", "--out", out)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads((out / "environment.json").read_text("utf-8"))["model"]["device"] != "cpu"
    manifests = [json.loads(path.read_text("utf-8")) for path in out.glob("arms/*/gen-*/manifest.json")]
    assert len(manifests) == 9
    assert {manifest["level"] for manifest in manifests} == {"statistical"}
