"""A run stops before a stage that would fill the disk. A disk that fills up nevertheless is a user error."""

from __future__ import annotations

import errno
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from autophage.errors import UserError
from autophage.plan import disk
from autophage.recipe import load_recipe
from autophage.recipe.arms import Arm
from autophage.store.manifest import Manifest, write_manifest
from autophage.store.rundir import RunDirectory


def arm(*settings: str) -> Arm:
    return load_recipe("smoke", settings).arms[0]


def free(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(total=1 << 40, used=0, free=count))


def test_the_bound_counts_statistics_weights_and_optimizer(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    plain = disk.need(run, arm(), 0)
    recipe = arm().recipe
    statistics = recipe.sample.count * recipe.max_tokens * (4 * 4 + 8)
    assert plain.corpus > statistics
    assert disk.need(run, arm("sample.count=96"), 0).corpus == 2 * plain.corpus
    assert disk.need(run, arm("train.optimizer=carried"), 0).weights == 3 * plain.weights
    assert disk.need(run, arm("model.method=full"), 0).weights > plain.weights > 0


def test_what_the_last_generation_took_counts_where_it_is_more(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    own = arm()
    folder = run.generation(own.name, 0)
    folder.mkdir(parents=True)
    files = {
        name: {"bytes": size, "sha256": "0" * 64}
        for name, size in {"corpus-00000.parquet": 1 << 40, "adapter/adapter_model.safetensors": 1 << 41}.items()
    }
    write_manifest(folder, Manifest(own.name, 0, None, files, {}, {}, {}, {}, "exact"))
    assert disk.need(run, own, 1) == disk.Need(1 << 40, 1 << 41)


def test_too_little_room_is_refused_with_both_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, own = RunDirectory(tmp_path), arm()
    needed = disk.need(run, own, 0).total + disk.RESERVE
    free(monkeypatch, needed)
    disk.require_room(run, [own], 0, "sample")
    free(monkeypatch, needed - 1)
    with pytest.raises(UserError) as refusal:
        disk.require_room(run, [own], 0, "sample")
    assert f"{needed - 1:,} bytes free" in str(refusal.value)
    assert f"needs up to {needed:,}" in str(refusal.value)
    assert "before stage sample" in str(refusal.value)
    free(monkeypatch, needed)
    with pytest.raises(UserError):
        disk.require_room(run, [own, own], 0, "sample")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_the_users_to_mend(tmp_path: Path, number: int) -> None:
    with pytest.raises(UserError, match="bytes are free"), disk.full_disk_as_user_error(tmp_path / "runs" / "x"):
        raise OSError(number, "No space left on device")
    with pytest.raises(PermissionError), disk.full_disk_as_user_error(tmp_path):
        raise PermissionError(errno.EACCES, "no")


STOPPED = """
import sys
from types import SimpleNamespace
from autophage.plan import disk
from autophage.cli import main

calls = 0


def filling(path):
    global calls
    calls += 1
    return SimpleNamespace(free=10 if calls > int(sys.argv[2]) else 1 << 40)


disk.shutil = SimpleNamespace(disk_usage=filling)
sys.exit(main(["run", "smoke", "--out", sys.argv[1]]))
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.long
def test_a_run_stops_before_the_stage_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = subprocess.run(
        [sys.executable, "-c", STOPPED, str(out), "12"], capture_output=True, text=True, check=False, timeout=280
    )
    assert done.returncode == 2, done.stderr[-2000:]
    assert "10 bytes free" in done.stderr
    assert "Stopped before stage" in done.stderr
    assert "Traceback" not in done.stderr
    again = [sys.executable, "-m", "autophage", "run", "smoke", "--out", str(out)]
    done = subprocess.run(again, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
