"""Start a run or resume it: from a recipe's name to a finished run directory with its report."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from autophage.errors import StoreError, UserError
from autophage.host.patterns import is_url
from autophage.runs.handle import Run
from autophage.store.rundir import EventLog, RunDirectory, read_events

if TYPE_CHECKING:
    from autophage.recipe import LoadedRecipe

RUNS = "runs"
"""Folder in which a run without an `out` gets its directory."""


def run(
    recipe: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    overrides: Mapping[str, Any] | Sequence[str] = (),
    *,
    profile: str | None = None,
    address: str | None = None,
    fork_from: str | None = None,
    insecure: bool = False,
    progress: bool = True,
) -> Run:
    """Run a recipe to its end, as `autophage run` does.

    The same call on the same directory resumes after the last commit. On a finished run it returns at once.

    Args:
        recipe: Name of a shipped recipe, or path of a recipe file.
        out: The run directory; `runs/NAME` if None.
        overrides: Recipe keys to replace: `{"mix.alpha": 0.5}`, or texts as for `--set`, `["mix.alpha=0.5"]`.
        profile: Scale of the recipe, if it has profiles.
        address: Ray cluster to work on: `"auto"` or `"HOST:PORT"`. None starts a private Ray on this machine.
        fork_from: `"RUN@GENERATION"`: begin with the generations of another run.
        insecure: Join a cluster of several machines that requires no token.
        progress: Print progress to standard output.

    Returns:
        The finished run.

    Raises:
        RecipeError: The recipe or an override is wrong. The message names file, line and key.
        UserError: The directory holds another run, a model or source cannot be read, or the disk is full.
        RunError: The run failed. Committed generations stay, and the same call resumes.
        StoreError: Committed files differ from their manifests.
        KeyboardInterrupt: The run was interrupted. The same call resumes.

    Warns:
        UserWarning: A key of the recipe has no effect.

    Examples:
        >>> run = ap.run("demo", out="runs/demo", overrides={"generations": 3, "mix.alpha": 0.5})
        >>> run.generations
        [0, 1, 2, 3]
    """
    from autophage.recipe import load_recipe

    loaded = load_recipe(os.fspath(recipe), _settings(overrides), profile)
    for warning in loaded.warnings:
        warnings.warn(warning, stacklevel=2)
    directory = run_directory(loaded, None if out is None else Path(out))
    perform(loaded, directory, address=address, fork_from=fork_from, insecure=insecure, progress=progress)
    return Run(directory)


def run_directory(loaded: LoadedRecipe, out: Path | None) -> RunDirectory:
    """Return the directory of a run. If `out` is None, it is `runs/NAME` with the recipe's name.

    Raises:
        UserError: `out` is a URL.
    """
    if out is not None and is_url(str(out)):
        raise UserError(
            f"--out {out}: is a URL. A run needs a local folder; mount the store, or copy the run to it afterwards."
        )
    return RunDirectory(Path(RUNS) / loaded.recipe.name if out is None else out)


def perform(
    loaded: LoadedRecipe,
    directory: RunDirectory,
    *,
    address: str | None,
    fork_from: str | None,
    insecure: bool,
    progress: bool = True,
) -> bool:
    """Execute a loaded recipe in `directory`. Then write the report, if generations were added or it is missing.

    Returns:
        True if the run did some work; False if it was finished already.
    """
    from autophage.live import open_view
    from autophage.live.surviving import SurvivingView
    from autophage.runs.execute import execute
    from autophage.runs.fork import parse_origin
    from autophage.track.processes import Followers

    origin = None if fork_from is None else parse_origin(fork_from)
    followers = Followers(directory, loaded.recipe.track)
    try:
        with SurvivingView(open_view(read_events(directory.events))) if progress else _Quiet() as view:
            worked = execute(loaded, directory.root, view, address, origin, insecure=insecure, followers=followers)
            if worked or not directory.report.is_file():
                _report(directory)
            for note in followers.finish():
                event = {"time": round(time.time(), 3), "kind": "note", "text": note}
                EventLog(directory.events).append(event)
                view.handle(event)
    except StoreError as error:
        raise StoreError(
            f"{error}. `autophage verify {directory.root}` lists the faults; with --repair it goes back to the last "
            "intact generation of each arm."
        ) from error
    finally:
        followers.abandon(kill=False)
    return worked


def _report(directory: RunDirectory) -> None:
    from autophage.report import write_report

    write_report(directory)


class _Quiet:
    """A viewer of a run's events that shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def handle(self, event: dict[str, Any]) -> None: ...


def _settings(overrides: Mapping[str, Any] | Sequence[str]) -> list[str]:
    """Return overrides as texts `key=value`, which `--set` takes."""
    from autophage.recipe.syntax.literals import toml_value

    if isinstance(overrides, str):
        return [overrides]
    if not isinstance(overrides, Mapping):
        return list(overrides)
    return [f"{key}={toml_value(_plain(key, value))}" for key, value in overrides.items()]


def _plain(key: str, value: Any) -> Any:
    """Return `value` in types that TOML has.

    Tuples become lists. Paths become texts. NumPy scalars become numbers.

    Args:
        key: Dotted key of the value, for messages.

    Raises:
        UserError: The value is None or contains None.
    """
    if value is None:
        raise UserError(f"overrides: {key} is None, which a recipe cannot hold. Leave the key out to keep its value.")
    if isinstance(value, Mapping):
        return {str(name): _plain(f"{key}.{name}", item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(key, item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value.item() if hasattr(value, "item") else value
