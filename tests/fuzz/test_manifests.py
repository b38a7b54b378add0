"""Any manifest in a run directory: every verb works, or names the fault of the run in one message."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from tests.fuzz.timebox import fuzz

from autophage.cli import main
from autophage.errors import StoreError
from autophage.recipe import load_recipe, resolved_toml
from autophage.store.atomic import write_text
from autophage.store.canary import CanaryRecord
from autophage.store.commit import Generation, commit_generation
from autophage.store.corpus import Sample
from autophage.store.manifest import INDENT, MANIFEST, Metric, check, read_manifest
from autophage.store.rundir import RunDirectory
from autophage.store.seal import sealed, unsealed
from autophage.store.weights import Weights

pytestmark = pytest.mark.thorough

RECIPE = 'name = "tiny"\ngenerations = 1\n[control]\nenabled = false\n'
NAMES = st.sampled_from(
    ["../escape", "/etc/passwd", "adapter/../../x", "", ".", "a\x00b", "\ud800", "x" * 300, "corpus-00000.parquet"]
)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**400), 10**400),
    st.floats(),
    st.text(max_size=20),
    NAMES,
    st.just("f" * 64),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | NAMES, inner, max_size=3),
    max_leaves=6,
)
FIELDS = (
    "arm",
    "generation",
    "parent",
    "files",
    "counts",
    "seeds",
    "weights",
    "versions",
    "level",
    "format",
    "notes",
    "other",
)
CHANGES = st.lists(
    st.tuples(st.sampled_from(FIELDS), st.sampled_from(["set", "drop", "inside"]), VALUES), min_size=1, max_size=3
)

CANARY = CanaryRecord(1e-6, 2e-7, 5e-7, staleness=0.01, staleness_error=0.02)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with two committed generations."""
    root = tmp_path_factory.mktemp("runs") / "whole"
    run = RunDirectory(root)
    run.arms.mkdir(parents=True)
    recipe = root.parent / "tiny.toml"
    recipe.write_text(RECIPE, "utf-8")
    write_text(run.recipe, resolved_toml(load_recipe(str(recipe))))
    for generation in range(2):
        values = np.zeros(2, np.float32)
        statistics: dict[str, Any] = dict.fromkeys(("logprob", "entropy", "varentropy", "max_prob"), values)
        sample = Sample("id", "", "a b", [1], [5, 6], "stop", 7, rank=np.ones(2, np.int64), **statistics)
        metrics = [Metric("fluency/ppl_human", 2.0 + generation, 1.9, 2.1, 10)]
        weights = Weights(b"tensors", {"r": 8})
        made = Generation("main", generation, weights, f"main@{generation}", [sample], metrics, CANARY, 1)
        commit_generation(run, made, level="exact", versions={"torch": "2"}, arms=["main"])
    return root


def changed(manifest: dict[str, Any], changes: list[tuple[str, str, Any]]) -> dict[str, Any]:
    for name, how, value in changes:
        if how == "drop":
            manifest.pop(name, None)
        elif how == "inside" and isinstance(manifest.get(name), dict) and manifest[name]:
            manifest[name][next(iter(manifest[name]))] = value
        elif how == "inside" and isinstance(value, dict) and isinstance(manifest.get(name), dict):
            manifest[name].update(value)
        else:
            manifest[name] = value
    return manifest


def test_the_reader(whole: Path, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    shutil.copytree(whole, run.root)
    folder = run.generation("main", 1)
    original = unsealed(folder / MANIFEST, INDENT)
    outcomes = set()

    def look(content: bytes) -> None:
        (folder / MANIFEST).write_bytes(content)
        try:
            manifest = read_manifest(folder)
            check(run, "main", 1)
            outcomes.add("read")
        except StoreError as error:
            outcomes.add("refused" if str(folder) in str(error) else f"refused without its place: {error}")
        else:
            assert manifest is not None
            for name in manifest.files:
                assert (folder / name).resolve().is_relative_to(folder.resolve())

    fuzz(st.binary(max_size=200), look, share=0.1)
    fuzz(VALUES.map(lambda value: json.dumps(value).encode()), look, share=0.1)
    fuzz(
        CHANGES.map(lambda changes: sealed(changed(copy.deepcopy(original), changes), INDENT).encode()), look, share=0.3
    )
    look(b"[" * 100_000)
    assert outcomes == {"read", "refused"}


@pytest.mark.parametrize("verb", ["verify", "status", "report", "export"])
def test_the_verbs(verb: str, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = RunDirectory(tmp_path / "run")
    shutil.copytree(whole, run.root)
    manifest = run.generation("main", 1) / MANIFEST
    original = unsealed(manifest, INDENT)
    out = tmp_path / "out"
    more = {"export": ["--arm", "main", "--generation", "1", "--out", str(out)]}.get(verb, [])

    def look(changes: list[tuple[str, str, Any]]) -> None:
        manifest.write_text(sealed(changed(copy.deepcopy(original), changes), INDENT), "utf-8")
        code = main([verb, str(run.root), *more])
        said = capsys.readouterr()
        assert code in (0, 1, 2)
        assert "Traceback" not in said.err
        assert "error: unexpected" not in said.err, said.err
        assert {path.name for path in tmp_path.iterdir()} <= {"run", "out"}
        shutil.rmtree(out, ignore_errors=True)

    look([])  # imports what the verb needs, which is no hang
    fuzz(CHANGES, look, share=0.125)
