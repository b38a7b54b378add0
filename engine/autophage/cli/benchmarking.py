"""The verb `bench`: finds the benchmarks, lists them, and runs one with the arguments that follow its name.

A benchmark is a script of `bench/`, beside the sources in a checkout and inside an installed package. It runs in a process of
its own, which must not inherit what a command line has imported; its exit code becomes this one's.
"""

from __future__ import annotations

import ast
import difflib
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from autophage.cli.output import AsJson, print_json, print_table, say
from autophage.errors import UserError

VERB = "bench"
PATIENCE_SECONDS = 20.0
"""For a benchmark that is asked to end: it ends what it started itself."""


def bench(name: str | None = None, /, *, as_json: AsJson = False) -> int:
    """Run a benchmark; without a name, list them. `autophage bench NAME --help` says what it measures and how long it takes.

    Parameters
    ----------
    name
        A benchmark; arguments after it are its own.
    """
    if name is not None:
        return run_benchmark(name, ["--json"] if as_json else [])
    found = [(name, _summary(path), path) for name, path in benchmarks().items()]
    if as_json:
        print_json([{"name": name, "description": text, "path": str(path)} for name, text, path in found])
    else:
        print_table(["benchmark", "description"], [(name, text) for name, text, _ in found])
        say()
        say("autophage bench NAME --help says what each measures, beside whom, and how long it takes.")
    return 0


def names_benchmark(tokens: Sequence[str]) -> bool:
    """Whether this command line is one of a benchmark, whose options are not ours to read."""
    return len(tokens) > 1 and tokens[0] == VERB and not tokens[1].startswith("-")


def benchmarks() -> dict[str, Path]:
    """The benchmarks by name: inside an installed package, or in a source checkout."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "bench", package.parents[1] / "bench"):
        if folder.is_dir():
            return {path.stem: path for path in sorted(folder.glob("*.py")) if not path.stem.startswith("_")}
    return {}


def run_benchmark(name: str, arguments: Sequence[str]) -> int:
    """Run a benchmark to its end; its exit code, or 1 where a signal ended it.

    Raises:
        UserError: there is none of that name.
    """
    known = benchmarks()
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        meant = f" Did you mean {close[0]}?" if close else ""
        raise UserError(f"no benchmark {name!r}.{meant} There are: {', '.join(known) or 'none'}.")
    process = subprocess.Popen([sys.executable, str(known[name]), *arguments], preexec_fn=_heed_interrupts)
    try:
        code = process.wait()
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        raise
    return code if code >= 0 else 1


def _heed_interrupts() -> None:
    """A shell starts background jobs with SIGINT ignored, which is inherited; but a benchmark is asked to end by it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _summary(path: Path) -> str:
    """The first line of a script's docstring."""
    text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    return text.split("\n", 1)[0].split(": `autophage", 1)[0].rstrip(".")
