"""The verb `bench`: list the benchmarks, or run one with the arguments that follow its name.

A benchmark is a script of `bench/`. This folder lies beside the sources in a checkout, and inside an installed
package. A benchmark runs in its own process, free of the command line's imports. Its exit code is passed on.
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
"""Seconds for an interrupted benchmark to end its own processes, before it is killed."""


def bench(name: str | None = None, /, *, as_json: AsJson = False) -> int:
    """Run a benchmark, or list the benchmarks. `autophage bench NAME --help` describes one.

    Args:
        name: Benchmark to run; the arguments after the name are passed to it.
    """
    if name is not None:
        return run_benchmark(name, ["--json"] if as_json else [])
    found = [(name, _summary(path), path) for name, path in benchmarks().items()]
    if as_json:
        print_json([{"name": name, "description": text, "path": str(path)} for name, text, path in found])
    else:
        print_table(["benchmark", "description"], [(name, text) for name, text, _ in found])
        say()
        say("autophage bench NAME --help describes a benchmark and its duration.")
    return 0


def names_benchmark(tokens: Sequence[str]) -> bool:
    """Return True if the words of a command line start with `bench NAME`. The other words belong to that benchmark."""
    return len(tokens) > 1 and tokens[0] == VERB and not tokens[1].startswith("-")


def benchmarks() -> dict[str, Path]:
    """Return the scripts of all benchmarks, by name; none if their folder is missing.

    The folder lies in the installed package, or beside the sources.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "bench", package.parents[1] / "bench"):
        if folder.is_dir():
            return {path.stem: path for path in sorted(folder.glob("*.py")) if not path.stem.startswith("_")}
    return {}


def run_benchmark(name: str, arguments: Sequence[str]) -> int:
    """Run a benchmark in a process of its own, and wait for its end.

    Returns:
        The exit code of the benchmark; 1 if a signal ended it.

    Raises:
        UserError: There is no benchmark of that name.
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
    """Restore the default for SIGINT.

    A shell starts background jobs with SIGINT ignored, and children inherit that.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _summary(path: Path) -> str:
    """Return the first line of a script's docstring, without its command; empty if it has none."""
    text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    return text.split("\n", 1)[0].split(": `autophage", 1)[0].rstrip(".")
