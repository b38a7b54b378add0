"""Anchors in the whole loop: the engine and `loop.py` agree on them, they are recorded and shown, and they hold."""

from __future__ import annotations

import itertools
import json
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
    'sweep={"anchor.kl" = [0.0, 1.0], "anchor.objective" = ["sft", "distill"]}',
    *("anchor.trust=0.05", "anchor.outliers=mask", "anchor.truncate=0.2"),
    *("mix.alpha=0.5", "mix.pool=accumulate", "mix.human_edit=0.05"),
)
LOOP = """
from autophage import environment
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
    held = metric(anchored, "anchor/kl")
    arms = {arm for arm, _ in held}
    # Without a weight, cross-entropy looks at no reference; a control has nothing to distil.
    assert arms == {
        "kl-0.0_objective-distill",
        *("kl-1.0_objective-sft", "kl-1.0_objective-distill"),
        *("control_kl-1.0_objective-sft", "control_kl-1.0_objective-distill"),
    }
    assert {generation for _, generation in held} == {1, 2}
    assert all(value > 0 for value in held.values())
    withheld = metric(anchored, "anchor/withheld")
    assert len({arm for arm, _ in withheld}) == 8
    assert all(0 < value < 1 for value in withheld.values())
    for manifest in anchored.glob("arms/*/gen-002/manifest.json"):
        arm = json.loads(manifest.read_text("utf-8"))["arm"]
        steps = pq.read_table(manifest.parent / "training.parquet").to_pylist()
        tokens = sum(step["tokens"] for step in steps)
        if arm in arms:
            mean = sum(step["divergence"] * step["tokens"] for step in steps) / tokens
            assert held[arm, 2] == pytest.approx(mean, rel=1e-5)


@pytest.mark.parametrize("verb", ["verify", "report", "status"])
def test_it_can_be_read(anchored: Path, autophage: Run, verb: str) -> None:
    done = autophage(verb, anchored)
    assert done.returncode == 0, done.stderr
    if verb == "report":
        page = (anchored / "report.html").read_text("utf-8")
        assert "Held while learning" in page
        assert "synthetic text distilled, masked beyond 0.05 nats" in page


def test_drift_falls_as_the_anchor_grows_heavier(variables: dict[str, str], tmp_path: Path) -> None:
    """Three generations on their own text; the arms' samples differ, so that weights lie well apart."""
    weights = (0.0, 0.3, 3.0)
    settings = (f'sweep={{"anchor.kl" = {list(weights)}}}', "control.enabled=false", "train.epochs=8", "generations=3")
    drift = metric(loop(tmp_path / "drift", variables, *settings), "drift/kl_to_base")
    last = [drift[f"kl-{weight}", 3] for weight in weights]
    for lighter, heavier in itertools.pairwise(last):
        assert heavier < 0.8 * lighter, last
