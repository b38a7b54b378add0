"""`run` with a fake engine, and `watch` beside a writer.

The engine needs vLLM and minutes. Functions that commit generations replace `execute`. The tests cover the command line only.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from tests.made_runs import RunMaker

from autophage.cli import main
from autophage.errors import RunError, UserError
from autophage.live import View
from autophage.recipe import LoadedRecipe
from autophage.report.facts.load import RunFacts
from autophage.store.lock import RunLock
from autophage.store.rundir import EventLog, RunDirectory

Execute = Callable[..., bool]
Engine = Callable[[Execute], None]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    """`engine(function)` makes `function` what `autophage.runs.execute.execute` is."""

    def install(execute: Execute) -> None:
        module = ModuleType("autophage.runs.execute")
        module.__dict__["execute"] = execute
        monkeypatch.setitem(sys.modules, "autophage.runs.execute", module)

    return install


@pytest.fixture
def written_reports(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The runs whose report was written; the report itself has its own tests."""
    runs: list[Path] = []

    def write_report(run: RunDirectory) -> Path:
        runs.append(run.root)
        run.report.write_text("<html>", "utf-8")
        return run.report

    module = ModuleType("autophage.report")
    module.__dict__["write_report"] = write_report
    monkeypatch.setitem(sys.modules, "autophage.report", module)
    return runs


def test_a_run_ends_with_its_headlines_and_its_report(
    engine: Engine,
    written_reports: list[Path],
    make_run: RunMaker,
    recipe_file: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    seen = []

    def execute(
        loaded: LoadedRecipe,
        out: Path,
        view: View,
        address: object = None,
        origin: object = None,
        *,
        insecure: bool = False,
        followers: object = None,
    ) -> bool:
        seen.append((loaded.recipe.sample.count, out.name))
        make_run(main=3, control=3)
        view.handle({"time": time.time(), "kind": "note", "text": "at work"})
        return True

    engine(execute)
    out = recipe_file.parent / "run"
    assert main(["run", str(recipe_file), "--out", str(out), "--set", "sample.count=7", "--set", "seed=3"]) == 0
    printed = capsys.readouterr().out
    assert seen == [(7, "run")]
    assert written_reports == [out]
    assert "at work" in printed
    expected = "main     generation 0 -> 2: torso accuracy 0.87 -> 0.47, form ppl 1.25 -> 1.45, entropy 0.50 -> 0.30"
    assert expected in printed
    assert printed.endswith(f"report: {out / 'report.html'}\n")


def test_the_default_directory_is_named_after_the_recipe(
    engine: Engine,
    written_reports: list[Path],
    recipe_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(recipe_file.parent)
    engine(lambda loaded, out, *_, **__: (out.mkdir(parents=True), False)[1])
    assert main(["run", "tiny.toml"]) == 0
    assert [str(path) for path in written_reports] == ["runs/tiny"]


def test_a_finished_run_says_so_in_one_line(
    engine: Engine,
    written_reports: list[Path],
    make_run: RunMaker,
    recipe_file: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = make_run(main=3, control=3)
    engine(lambda loaded, out, *_, **__: False)
    for reports in (1, 1):  # missing the first time, there the second time
        assert main(["run", str(recipe_file), "--out", str(run.root)]) == 0
        printed = capsys.readouterr().out
        assert printed.startswith("nothing to do: ")
        assert printed.count("\n") == 1
        assert len(written_reports) == reports


def _raises(error: BaseException) -> Execute:
    def execute(
        loaded: LoadedRecipe,
        out: Path,
        view: View,
        address: object = None,
        origin: object = None,
        *,
        insecure: bool = False,
        followers: object = None,
    ) -> bool:
        out.mkdir(parents=True, exist_ok=True)
        raise error

    return execute


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (UserError("the recipe changed"), 2, "error: the recipe changed\n"),
        (RunError("the sampler died"), 1, "error: the sampler died\n"),
        (KeyboardInterrupt(), 130, "interrupted; the same command resumes after the last commit\n"),
    ],
)
def test_how_a_run_can_end(
    engine: Engine,
    recipe_file: Path,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    message: str,
) -> None:
    engine(_raises(error))
    assert main(["run", str(recipe_file), "--out", str(recipe_file.parent / "out")]) == code
    assert capsys.readouterr().err == message


def test_a_fault_of_ours_leaves_its_traceback_in_the_run(
    engine: Engine, make_run: RunMaker, recipe_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine(_raises(KeyError("lost")))
    out = make_run("", main=1, control=0).root
    assert main(["run", str(recipe_file), "--out", str(out)]) == 1
    error = capsys.readouterr().err
    assert error == f"error: unexpected KeyError: 'lost'. The traceback is in {out / 'logs' / 'crash.log'}.\n"
    assert "Traceback" in (out / "logs" / "crash.log").read_text("utf-8")


def test_a_fault_before_there_is_a_run_shows_its_traceback(
    engine: Engine, recipe_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine(_raises(KeyError("lost")))
    out = recipe_file.parent / "out"
    assert main(["run", str(recipe_file), "--out", str(out)]) == 1
    assert "Traceback" in capsys.readouterr().err
    assert list(out.iterdir()) == []  # a directory that holds no run is none of our business


def test_warnings_of_the_recipe_are_printed(
    engine: Engine,
    written_reports: list[Path],
    recipe_file: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe_file.write_text(recipe_file.read_text("utf-8") + '[source]\ncolumn = "body"\n', "utf-8")
    engine(lambda loaded, out, *_, **__: (out.mkdir(), False)[1])
    assert main(["run", str(recipe_file), "--out", str(recipe_file.parent / "out")]) == 0
    assert capsys.readouterr().err.startswith("warning: ")


def test_watch_follows_a_writer_to_the_end(make_run: RunMaker, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run("", main=1, control=0)

    def write() -> None:
        with RunLock(run.lock):
            written.set()
            log = EventLog(run.events)
            time.sleep(0.3)
            log.append({"kind": "note", "time": 1.0, "text": "from the writer"})
            log.append({"kind": "run-end", "time": 1.0, "seconds": 3.0})
            finished.wait(30)

    written, finished = threading.Event(), threading.Event()
    writer = threading.Thread(target=write)
    writer.start()
    written.wait(30)
    try:
        assert main(["watch", str(run.root)]) == 0  # returns at run-end, though the writer still holds the lock
    finally:
        finished.set()
        writer.join()
    printed = capsys.readouterr().out
    assert "main, generation 0: committed" in printed
    assert printed.index("from the writer") < printed.index("finished in 3.0 s")


def test_watch_of_a_run_whose_writer_died(make_run: RunMaker, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run("", main=1, control=1)
    assert main(["watch", str(run.root)]) == 0
    assert "its process died without a message" in capsys.readouterr().out


def test_watch_of_a_finished_run_shows_its_end(make_run: RunMaker, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(main=3, control=3)
    assert main(["watch", str(run.root)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("run tiny: finished in 12 s")


def test_watch_before_the_first_event(make_run: RunMaker, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(main=0)
    run.events.unlink()
    assert main(["watch", str(run.root)]) == 0
    assert "the run has no events yet" in capsys.readouterr().out


def test_the_report_verb_writes_page_and_figure(
    make_run: RunMaker, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from autophage.report import hero, page
    from autophage.report.facts import load

    run = make_run(main=3, control=3)
    reads: list[RunDirectory] = []

    def counted(run: RunDirectory) -> RunFacts:
        reads.append(run)
        return load.load(run)

    for module in (page, hero):
        monkeypatch.setattr(module, "load", counted)
    figure = run.root / "figure.svg"
    assert main(["report", str(run.root), "--figure", str(figure), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts.keys() == {"report", "figure", "early_warning", "costs", "remedies"}
    assert (facts["report"], facts["figure"]) == (str(run.report), str(figure))
    assert "</html>" in run.report.read_text("utf-8")
    assert figure.read_text("utf-8").startswith("<svg")
    assert len(reads) == 1


def test_export_knows_the_arms(make_run: RunMaker, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(main=1, control=1)
    code = main(["export", str(run.root), "--arm", "mian", "--generation", "0", "--out", str(run.root / "x")])
    assert code == 2
    assert "It has main, control." in capsys.readouterr().err
