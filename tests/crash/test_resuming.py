"""A resumed run reports changes since its start. It refuses to build on some of them."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.crash.conftest import Workshop

from autophage.store.manifest import MANIFEST
from autophage.store.rundir import RunDirectory, read_events

pytestmark = pytest.mark.thorough


@pytest.fixture
def half(workshop: Workshop, recipe: Path, tmp_path: Path) -> Path:
    """A run that died half way."""
    out = tmp_path / "half"
    assert workshop("run", recipe, "--out", out, kill_at=180) == -signal.SIGKILL
    assert 3 < len(list(out.glob(f"arms/*/gen-*/{MANIFEST}"))) < 7
    return out


def test_other_versions_are_told_and_recorded(
    workshop: Workshop, recipe: Path, half: Path, require_intact: Callable[..., None]
) -> None:
    run = RunDirectory(half)
    facts = run.read_environment()
    now = facts["packages"]["numpy"]
    facts["packages"] = {**facts["packages"], "numpy": "0.9"}
    run.write_environment(facts)
    assert workshop("run", recipe, "--out", half) == 0, workshop.said
    told = f"numpy was 0.9 when this run started and is now {now}"
    assert told in workshop.said
    assert any(told in event.get("text", "") for event in read_events(run.events))
    newest = max(half.glob(f"arms/main/gen-*/{MANIFEST}"))
    assert json.loads(newest.read_text("utf-8"))["versions"]["numpy"] == now
    require_intact(half, "other versions")


@pytest.mark.parametrize(
    "name", ["corpus-00000.parquet", "learner/state.safetensors", "learner/learner.json", "metrics.json"]
)
def test_nothing_is_made_from_what_is_not_true(
    workshop: Workshop, recipe: Path, half: Path, require_intact: Callable[..., None], name: str
) -> None:
    path = half / "arms" / "main" / "gen-001" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    before = sorted(half.glob(f"arms/*/gen-*/{MANIFEST}"))
    newest = name.startswith("learner/") and (half / "arms" / "main" / "gen-002" / MANIFEST).exists()
    if not newest:  # a model is not read again once the next one is there
        assert workshop("run", recipe, "--out", half) == 1, workshop.said
        assert "main/gen-001" in workshop.said
        assert "--repair" in workshop.said
        assert sorted(half.glob(f"arms/*/gen-*/{MANIFEST}")) == before
    assert workshop("verify", half, "--repair") == 0, workshop.said
    assert workshop("run", recipe, "--out", half) == 0, workshop.said
    require_intact(half, f"{name} was damaged", repaired=True)


def test_a_finished_run_has_nothing_to_do(workshop: Workshop, recipe: Path, undisturbed: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(undisturbed, tmp_path / "finished"))
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert workshop("run", recipe, "--out", out) == 0, workshop.said
    assert "nothing to do" in workshop.said
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_a_table_of_metrics_that_is_torn_is_made_again(
    workshop: Workshop, recipe: Path, undisturbed: Path, tmp_path: Path, require_intact: Callable[..., None]
) -> None:
    out = Path(shutil.copytree(undisturbed, tmp_path / "finished"))
    table = RunDirectory(out).metrics
    table.write_bytes(table.read_bytes()[:-9])
    assert workshop("run", recipe, "--out", out) == 0, workshop.said
    require_intact(out, "a torn table")
