"""The loop of learners: training rows, resumption, files."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.learners.conftest import Events, Load, Run

from autophage.errors import RunError, UserError
from autophage.learners.gaussian import Gaussian
from autophage.learners.loop import Chain, _training_rows
from autophage.store.manifest import MANIFEST, check, committed
from autophage.store.metrics_table import read_metrics_table
from autophage.store.rundir import RunDirectory

pytestmark = pytest.mark.thorough

KINDS = ("gaussian", "mixture", "vae", "ngram", "regression", "classifier")


def manifests(run: RunDirectory) -> dict[str, bytes]:
    """Return every manifest by its path. Manifests hold the hashes of all other files."""
    return {str(path.relative_to(run.root)): path.read_bytes() for path in run.arms.rglob(MANIFEST)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pool", ["replace", "accumulate"])
def test_a_run_that_was_stopped_ends_with_the_same_bytes(load: Load, run_recipe: Run, kind: str, pool: str) -> None:
    loaded = load(kind, f"mix.pool={pool}", "mix.alpha=0.7")
    whole = run_recipe(loaded, "whole")
    stopped = run_recipe(loaded, "stopped", stop=3)
    assert 0 < len(manifests(stopped)) < len(manifests(whole))
    torn = stopped.generation("main", 2)
    torn.mkdir(parents=True)
    (torn / "corpus-00000.parquet").write_bytes(b"half of")
    run_recipe(loaded, "stopped")
    assert manifests(stopped) == manifests(whole)
    assert read_metrics_table(stopped).equals(read_metrics_table(whole))
    for arm in ("main", "control"):
        assert [check(stopped, arm, generation) for generation in range(3)] == [[], [], []]
        assert {one.level for one in committed(stopped, arm)} == {"exact"}


def test_generations_that_were_lost_are_made_again_as_they_were(load: Load, run_recipe: Run) -> None:
    loaded = load("gaussian", "mix.pool=accumulate-subsample")
    run = run_recipe(loaded, "run")
    before = manifests(run)
    for arm, generation in (("main", 2), ("main", 1), ("control", 2)):
        shutil.rmtree(run.generation(arm, generation))
    run_recipe(loaded, "run")
    assert manifests(run) == before


@pytest.mark.parametrize("kind", KINDS)
def test_every_stage_is_told_and_every_commit_has_its_numbers(load: Load, run_recipe: Run, kind: str) -> None:
    events: Events = []
    run_recipe(load(kind), "run", events=events)
    told = [one for one in events if one["kind"] in ("run-start", "run-end", "commit")]
    assert [one["kind"] for one in told] == ["run-start", *["commit"] * 6, "run-end"]
    assert all(one["metrics"] for one in told[1:-1])
    ended = [one["stage"] for one in events if one["kind"] == "stage-end"]
    assert ended == ["train", "sample", "measure", "commit"] * 6


def chain(load: Load, *overrides: str) -> Chain:
    (arm,) = load("gaussian", "control.enabled=false", *overrides).arms
    made = Chain(arm, Gaussian(arm.recipe))
    made.rows = {generation: [np.full(4, 1000.0 + generation, np.float32)] * 12 for generation in range(3)}
    return made


@pytest.mark.parametrize(
    ("overrides", "human", "counts"),
    [
        (("mix.alpha=1.0",), 0, {1002.0: 12}),
        (("mix.alpha=0.5",), 6, {1002.0: 6}),
        (("mix.alpha=0.0",), 12, {}),
        (("mix.alpha=1.0", "mix.pool=accumulate"), 12, {1000.0: 12, 1001.0: 12, 1002.0: 12}),
        (("mix.alpha=0.25", "mix.pool=accumulate"), 12 + 27, {1000.0: 3, 1001.0: 3, 1002.0: 3}),
    ],
)
def test_what_a_model_is_fitted_to(
    load: Load, overrides: tuple[str, ...], human: int, counts: dict[float, int]
) -> None:
    values = [float(row[0]) for row in _training_rows(chain(load, *overrides), 3)]
    assert sum(abs(value) < 100 for value in values) == human
    assert {value: values.count(value) for value in counts} == counts
    assert len(values) == human + sum(counts.values())


def test_a_subsample_is_as_large_as_a_generation(load: Load) -> None:
    assert len(_training_rows(chain(load, "mix.pool=accumulate-subsample"), 3)) == 12


def test_human_rows_are_the_same_in_every_arm_and_fresh_in_every_generation(load: Load) -> None:
    first, other = chain(load, "mix.alpha=0.0"), chain(load, "mix.alpha=0.5")
    rows = [np.stack(_training_rows(first, generation)) for generation in (1, 2)]
    assert not np.array_equal(rows[0], rows[1])
    human = np.stack(_training_rows(other, 1))[6:]
    np.testing.assert_array_equal(human, rows[0][:6])
    fixed = chain(load, "mix.alpha=0.0", "mix.human=fixed")
    again = [np.stack(_training_rows(fixed, generation)) for generation in (1, 2)]
    assert np.array_equal(again[0], again[1])


def test_arms_have_the_same_model_0_and_draw_independently(load: Load, run_recipe: Run) -> None:
    run = run_recipe(load("gaussian"), "run")
    main, control = (run.generation(arm, 0) for arm in ("main", "control"))
    state = "learner/state.safetensors"
    assert (main / state).read_bytes() == (control / state).read_bytes()
    assert (main / "corpus-00000.parquet").read_bytes() != (control / "corpus-00000.parquet").read_bytes()


def test_another_source_under_the_same_path_is_noticed(load: Load, run_recipe: Run, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("a b c\n" * 50)
    loaded = load("ngram", "source.kind=text", f"source.path={text}")
    run_recipe(loaded, "run", stop=2)
    text.write_text("a b d\n" * 50)
    with pytest.raises(UserError, match="the source changed"):
        run_recipe(loaded, "run")


def test_a_source_that_is_not_there_leaves_nothing_behind(load: Load, run_recipe: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no train-images"):
        run_recipe(load("vae", f"source.path={tmp_path}"), "run")
    assert not (tmp_path / "run").exists()


def test_a_number_that_is_not_finite_is_never_committed(
    load: Load, run_recipe: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Gaussian, "fit", lambda *_: {"mean": np.zeros(4), "variance": np.full(4, np.inf)})
    with (
        pytest.raises(RunError, match=r"learner/variance.* is not finite; nothing was committed"),
        np.errstate(all="ignore"),
    ):
        run_recipe(load("gaussian"), "run")
    assert not list((tmp_path / "run").rglob(MANIFEST))
