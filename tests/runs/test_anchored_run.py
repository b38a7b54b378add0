"""Anchors in the whole loop: engine and `loop.py` agree, and statistics are recorded."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

Contents = Callable[[Path], dict[str, object]]
Run = Callable[..., "subprocess.CompletedProcess[str]"]

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1800)]

EVERYTHING = (
    'sweep={"anchor.objective" = ["sft", "distill"]}',
    *("anchor.kl=1.0", "anchor.trust=0.05", "anchor.outliers=mask", "anchor.truncate=0.05"),
    *("mix.alpha=0.5", "mix.pool=accumulate", "mix.human_edit=0.05"),
)
LOOP = """
from autophage.host import environment
environment.apply()
import sys
from pathlib import Path
from autophage.loop import run_loop

if __name__ == "__main__":
    run_loop("smoke", Path(sys.argv[1]), sys.argv[2:])
"""


def loop(out: Path, variables: dict[str, str], *overrides: str) -> Path:
    """A run by `loop.py`, with values put over those of `smoke`."""
    script = out.with_suffix(".py")
    script.write_text(LOOP, encoding="utf-8")
    command = [sys.executable, str(script), str(out), *overrides]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return out


@pytest.fixture(scope="module")
def anchored(tmp_path_factory: pytest.TempPathFactory, autophage: Run) -> Path:
    out = tmp_path_factory.mktemp("runs") / "anchored"
    done = autophage("run", "smoke", "--out", out, *itertools.chain(*(("--set", one) for one in EVERYTHING)))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return out


def metric(run: Path, name: str) -> dict[tuple[str, int], float]:
    rows = pq.read_table(run / "metrics.parquet").to_pylist()
    return {(row["arm"], row["generation"]): row["value"] for row in rows if row["metric"] == name}


def test_loop_and_engine_make_the_same_anchored_run(
    anchored: Path, contents: Contents, variables: dict[str, str], tmp_path: Path
) -> None:
    engine, plain = contents(anchored), contents(loop(tmp_path / "loop", variables, *EVERYTHING))
    assert engine.keys() == plain.keys()
    assert [name for name in engine if engine[name] != plain[name]] == []


def test_what_held_the_models_is_recorded(anchored: Path) -> None:
    held, withheld = metric(anchored, "anchor/kl"), metric(anchored, "anchor/withheld")
    names = ("objective-sft", "objective-distill", "control_objective-sft", "control_objective-distill")
    assert held.keys() == withheld.keys() == {(arm, generation) for arm in names for generation in (1, 2)}
    assert all(value > 0 for value in held.values())
    assert all(0 < value < 1 for value in withheld.values()), withheld
    for arm in names:
        steps = pq.read_table(anchored / "arms" / arm / "gen-002" / "training.parquet").to_pylist()
        tokens = sum(step["tokens"] for step in steps)
        mean = sum(step["divergence"] * step["tokens"] for step in steps) / tokens
        assert held[arm, 2] == pytest.approx(mean, rel=1e-5)


def test_how_much_of_the_human_text_was_edited_is_recorded(anchored: Path) -> None:
    redrawn, edited = metric(anchored, "mix/redrawn"), metric(anchored, "mix/edited")
    arms = ("objective-sft", "objective-distill")  # controls are trained on human text as it is
    assert redrawn.keys() == edited.keys() == {(arm, generation) for arm in arms for generation in (1, 2)}
    assert all(0 < edited[key] <= redrawn[key] <= 1 for key in edited)


@pytest.mark.parametrize("verb", ["verify", "report", "status"])
def test_it_can_be_read(anchored: Path, autophage: Run, verb: str) -> None:
    done = autophage(verb, anchored)
    assert done.returncode == 0, done.stderr
    if verb == "report":
        page = (anchored / "report.html").read_text("utf-8")
        assert "Held while learning" in page
        assert "synthetic text distilled, masked beyond 0.05 nats" in page


def test_drift_falls_and_knowledge_stays_as_the_anchor_grows_heavier(variables: dict[str, str], tmp_path: Path) -> None:
    """Three generations on synthetic text alone, of a model that knows half of its small world."""
    weights = (0.0, 0.1, 0.3, 1.0, 3.0)
    run = loop(
        tmp_path / "drift",
        variables,
        f'sweep={{"anchor.kl" = {list(weights)}}}',
        *("control.enabled=false", "generations=3", "sample.count=96"),
        *("base.tokens=500000", "base.learning_rate=4e-3", "train.epochs=6", "train.learning_rate=4e-3"),
    )
    drift, knowledge = metric(run, "drift/kl_to_base"), metric(run, "knowledge/accuracy")
    last = [drift[f"kl-{weight}", 3] for weight in weights]
    for lighter, heavier in itertools.pairwise(last):
        assert heavier < 0.85 * lighter, last
    assert last[-1] < 0.1 * last[0]
    assert knowledge["kl-3.0", 3] > knowledge["kl-0.0", 3] + 0.1
