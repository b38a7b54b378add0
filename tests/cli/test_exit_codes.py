"""Interface to a shell: exit codes, one message on standard error, and fast imports."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.made_runs import RunMaker

from autophage import __version__
from autophage.cli import main
from autophage.cli.app import VERBS

pytestmark = pytest.mark.thorough


def autophage(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "import sys; from autophage.cli import main; sys.exit(main())", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=120, check=False)


def test_a_wrong_verb_is_told_what_was_meant() -> None:
    done = autophage("stauts")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith('error: Unknown command "stauts". Did you mean "status"?')
    assert done.stderr.count("\n") == 1


def test_a_wrong_recipe_is_the_users_error(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text('name = "bad"\n[sample]\ncuont = 3\n', "utf-8")
    done = autophage("run", "bad.toml", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "bad.toml:3" in done.stderr
    assert "count" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_missing_recipe_is_the_users_error(tmp_path: Path) -> None:
    done = autophage("plan", "no-such-recipe", cwd=tmp_path)
    assert done.returncode == 2
    assert "no recipe 'no-such-recipe'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["run", "x", "--ot", "y"], "--out"),
        (["export", "x", "--arm", "a", "--generation", "1", "--out", "y", "--what", "mergd"], "merged"),
        (["status"], "DIRECTORY requires an argument"),
        (["plan", "x", "--price-per-hour", "cheap"], "--price-per-hour"),
    ],
)
def test_wrong_options(arguments: list[str], meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert meant in error
    assert f"`autophage {arguments[0]} --help`" in error


def test_messages_cannot_carry_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["\x1b[31mred"]) == 2
    assert "\x1b" not in capsys.readouterr().err


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example_of_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    assert f"Example: autophage {verb}" in capsys.readouterr().out


def test_the_verbs_are_these() -> None:
    """The command line is a public surface: a verb leaves or comes on purpose only."""
    names = [
        "run",
        "watch",
        "status",
        "report",
        "compare",
        "query",
        "export",
        "track",
        "verify",
        "score",
        "recipes",
        "show",
        "plan",
        "try",
        "bench",
        "doctor",
    ]
    assert list(VERBS) == names


def test_version() -> None:
    done = autophage("--version")
    assert (done.returncode, done.stdout.strip()) == (0, __version__)


HEAVY = ("torch", "ray", "vllm", "transformers", "peft", "trl", "datasets", "plotly")


@pytest.mark.parametrize("verb", ["help", "recipes", "show", "plan", "status", "verify", "watch"])
@pytest.mark.thorough
def test_reading_verbs_import_nothing_heavy(verb: str, make_run: RunMaker, recipe_file: Path) -> None:
    run = make_run(main=2, control=1)
    arguments = {
        "help": ["--help"],
        "recipes": ["recipes"],
        "show": ["show", str(recipe_file), "--resolved"],
        "plan": ["plan", str(recipe_file)],
    }.get(verb, [verb, str(run.root)])
    code = (
        "import sys; from autophage.cli import main; code = main(sys.argv[1:]);"
        f"print(sorted(set({HEAVY}) & set(sys.modules)), file=sys.stderr); sys.exit(code)"
    )
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "[]\n")


def test_a_reader_that_leaves_is_no_traceback(recipe_file: Path) -> None:
    code = "import sys; from autophage.cli import main; sys.exit(main(['show', sys.argv[1], '--resolved']))"
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-c", code, str(recipe_file)]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=120, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_termination_is_an_interrupt(make_run: RunMaker) -> None:
    """SIGTERM ends `watch` like Ctrl-C does. Clusters send it."""
    run = make_run("", main=1, control=0)
    code = (
        "import sys; from autophage.cli import main; from autophage.store.lock import RunLock\n"
        "from pathlib import Path\n"
        "with RunLock(Path(sys.argv[1]) / '.lock'):\n    sys.exit(main(['watch', sys.argv[1]]))"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(run.root)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    first = child.stdout.readline()
    child.send_signal(signal.SIGTERM)
    _, error = child.communicate(timeout=60)
    assert "run tiny" in first
    assert (child.returncode, error) == (130, "stopped watching; the run continues\n")
