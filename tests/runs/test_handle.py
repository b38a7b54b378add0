"""The public API on small committed runs, and once on the real stack."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.made_runs import RunMaker

import autophage as ap
from autophage.store.manifest import MANIFEST
from autophage.store.rundir import RunDirectory

SMALL = {"generations": 2, "learner.repetitions": np.int64(20)}


@pytest.fixture
def opened(make_run: RunMaker) -> ap.Run:
    return ap.open_run(make_run(main=3, control=2).root)


def test_importing_the_package_is_quick_and_imports_nothing_heavy() -> None:
    script = (
        "import sys; before = set(sys.modules); import autophage; "
        "print(*{name.split('.')[0] for name in set(sys.modules) - before})"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"torch", "ray", "pyarrow", "pydantic", "numpy", "rich", "vllm", "transformers"}


def test_every_public_name_is_there_and_documented() -> None:
    for name in ap.__all__:
        assert name == "__version__" or getattr(ap, name).__doc__, name
    for name in ("path", "recipe", "arms", "generations", "metrics", "corpus", "verify", "report"):
        assert getattr(ap.Run, name).__doc__, name


def test_arms_and_generations(opened: ap.Run, tmp_path: Path) -> None:
    assert opened.path == tmp_path / "run"
    assert opened.arms == ["main", "control"]
    assert opened.generations == [0, 1]  # main has one more
    assert opened.recipe.name == "tiny"
    assert repr(opened) == f"<Run {tmp_path / 'run'}: tiny, 2 arms, 2 of 3 generations>"


def test_metrics_are_those_of_committed_generations(opened: ap.Run) -> None:
    rows = opened.metrics().to_pylist()
    assert len(rows) == 5 * 3
    assert rows[0] == {
        "arm": "main",
        "generation": 0,
        "metric": "knowledge/accuracy.torso",
        "value": 0.87,
        "low": 0.1,
        "high": 0.9,
        "n": 600,
    }
    opened.path.joinpath("metrics.parquet").unlink()
    assert opened.metrics().to_pylist() == rows


def test_a_corpus_has_a_row_per_sample_and_a_value_per_token(opened: ap.Run) -> None:
    corpus = opened.corpus("main", 2)
    assert corpus["text"].to_pylist() == ["a b"] * 3
    assert corpus["rank"].to_pylist() == [[1, 1]] * 3


@pytest.mark.parametrize(
    ("arm", "generation", "message"),
    [
        ("contrl", 0, "has no arm 'contrl'. Did you mean 'control'? It has main, control."),
        ("main", 3, "generation 3 of arm 'main' is not committed. It has 0 to 2."),
        ("main", -1, "generation -1 of arm 'main' is not committed. It has 0 to 2."),
    ],
)
def test_what_is_not_there_is_refused(opened: ap.Run, arm: str, generation: int, message: str) -> None:
    with pytest.raises(ap.UserError) as raised:
        opened.corpus(arm, generation)
    assert str(raised.value) == f"{opened.path}: {message}"


def test_an_empty_run_has_no_generations(make_run: RunMaker) -> None:
    run = ap.open_run(make_run().root)
    assert run.generations == []
    assert run.metrics().num_rows == 0
    with pytest.raises(ap.UserError, match="It has none yet"):
        run.corpus("main", 0)


def test_a_damaged_corpus_is_not_returned(opened: ap.Run) -> None:
    path = opened.path / "arms" / "main" / "gen-001" / "corpus-00000.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ap.StoreError, match="the manifest says"):
        opened.corpus("main", 1)
    assert not opened.verify().ok


def test_a_directory_that_holds_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ap.UserError, match="there is no such directory"):
        ap.open_run(tmp_path / "nothing")
    with pytest.raises(ap.UserError, match="holds no run"):
        ap.open_run(tmp_path)


def test_a_link_that_leads_out_of_the_run_is_refused(make_run: RunMaker, tmp_path: Path) -> None:
    run = make_run(main=1, control=1)
    (tmp_path / "elsewhere").mkdir()
    (run.root / "arms" / "more").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ap.UserError, match="link"):
        ap.open_run(run.root)


def test_a_run_from_recipe_to_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = ap.run("curse-gaussian", out=tmp_path / "run", overrides=SMALL)
    assert "run curse-gaussian: 4 arms" in capsys.readouterr().out
    assert run.generations == [0, 1, 2]
    assert run.recipe.learner.repetitions == 20
    assert run.verify().ok
    assert (tmp_path / "run" / "report.html").is_file()
    assert run.report() == tmp_path / "run" / "report.html"
    assert run.corpus("count-20", 1).column_names == ["sample_id", "values", "seed"]


def test_the_same_call_does_nothing_on_a_finished_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ap.run("curse-gaussian", out=tmp_path, overrides=SMALL, progress=False)
    assert capsys.readouterr().out == ""
    before = {path: path.read_bytes() for path in tmp_path.rglob(MANIFEST)}
    again = ap.run("curse-gaussian", str(tmp_path), ["generations=2", "learner.repetitions=20"], progress=False)
    assert {path: path.read_bytes() for path in tmp_path.rglob(MANIFEST)} == before
    assert again.generations == [0, 1, 2]


def test_a_run_of_another_recipe_is_refused(tmp_path: Path) -> None:
    ap.run("curse-gaussian", out=tmp_path, overrides=SMALL, progress=False)
    with pytest.raises(ap.UserError, match="run of another recipe"):
        ap.run("curse-gaussian", out=tmp_path, overrides={**SMALL, "seed": 7}, progress=False)


def test_the_directory_is_named_after_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert ap.run("curse-gaussian", overrides=SMALL, progress=False).path == Path("runs/curse-gaussian")


def test_a_run_may_begin_with_another_ones_generations(tmp_path: Path) -> None:
    first = ap.run("curse-gaussian", out=tmp_path / "first", overrides=SMALL, progress=False)
    overrides = {**SMALL, "generations": 3}
    fork = ap.run("curse-gaussian", tmp_path / "fork", overrides, fork_from=f"{first.path}@1", progress=False)
    assert fork.generations == [0, 1, 2, 3]
    assert fork.corpus("count-20", 1).equals(first.corpus("count-20", 1))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"generatons": 2}, "did you mean generations"),
        (["generations"], "has no value"),
        ({"sample.count": "many"}, "sample.count must be an integer"),
        ({"generations": None}, "generations is None"),
    ],
)
def test_a_wrong_override_is_refused(tmp_path: Path, overrides: dict[str, object] | list[str], message: str) -> None:
    with pytest.raises(ap.UserError, match=message):
        ap.run("curse-gaussian", out=tmp_path / "run", overrides=overrides, progress=False)
    assert not (tmp_path / "run").exists()


def test_overrides_may_be_tables_and_paths(tmp_path: Path) -> None:
    from autophage.recipe import load_recipe
    from autophage.runs.start import _settings

    (tmp_path / "text.txt").write_text("a text\n" * 100)
    gate = {"kind": "novelty", "distance": 0.5}
    overrides = {
        "source.kind": "text",
        "source.path": tmp_path / "text.txt",
        "gate": [gate],
        "train.epochs": np.float64(2),
    }
    recipe = load_recipe("smoke", _settings(overrides)).recipe
    assert recipe.source.path == str(tmp_path / "text.txt")
    assert recipe.gate[0].kind == "novelty"
    assert recipe.train.epochs == 2


def test_a_key_without_effect_is_a_warning(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="model.rank"):
        ap.run("curse-gaussian", tmp_path, {**SMALL, "model.rank": 4}, progress=False)


def test_a_run_works_in_a_thread(tmp_path: Path) -> None:
    from threading import Thread

    made: list[ap.Run] = []
    thread = Thread(target=lambda: made.append(ap.run("curse-gaussian", tmp_path, SMALL, progress=False)))
    thread.start()
    thread.join()
    assert made[0].generations == [0, 1, 2]


@pytest.mark.slow
@pytest.mark.long
def test_the_engine_by_the_api_makes_what_the_command_makes(
    smoke_run: Path, tmp_path: Path, cache: Path, contents: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOPHAGE_CACHE", str(cache))
    run = ap.run("smoke", out=tmp_path / "smoke", progress=False)
    assert contents(run.path) == contents(smoke_run)
    corpus = run.corpus(run.arms[0], run.generations[-1])
    assert [len(one) for one in corpus["entropy"].to_pylist()] == [len(one) for one in corpus["token_ids"].to_pylist()]


@pytest.mark.slow
def test_texts_are_scored_as_files_are(smoke_run: Path) -> None:
    model = RunDirectory(smoke_run).read_environment()["model"]["path"]
    adapter = smoke_run / "arms" / "control" / "gen-001" / "adapter"
    texts = ap.open_run(smoke_run).corpus("control", 0)["text"].to_pylist()[:3]
    table = ap.score(model, texts, adapter=adapter, reference=model)
    assert set(table["document"].to_pylist()) == {0, 1, 2}
    assert {"token", "logprob", "entropy", "varentropy", "rank", "kl", "reverse_kl"} <= set(table.column_names)
    assert ap.score(model, texts[0]).num_rows == table["document"].to_pylist().count(0)
    with pytest.raises(ap.UserError, match="nothing to score"):
        ap.score(model, [])
