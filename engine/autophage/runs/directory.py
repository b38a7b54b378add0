"""First files of a run directory: recipe and environment. A resumed run is compared with them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from autophage.errors import UserError
from autophage.host.environment import process_variables
from autophage.host.foreign_variables import noted
from autophage.host.versions import machine_facts
from autophage.plan.choices import SEQUENCES_KEY, Choices
from autophage.recipe import LoadedRecipe, Recipe, describe_difference, read_resolved, resolved_toml
from autophage.recipe.tables.table import AUTO
from autophage.stages.facts import DECISIVE
from autophage.store.atomic import TEMPORARY, make_folder, sha256, write_text
from autophage.store.confined import require_confined
from autophage.store.rundir import RunDirectory

MOVABLE = ("model", "source", "questions")
"""Tables of a recipe whose `path` may change between two sessions of a run. Their content may not."""


@contextmanager
def open_directory(run: RunDirectory) -> Iterator[None]:
    """Create the run directory if needed, and check that files can be written in it.

    Raises:
        UserError: The directory holds other files than a run, or cannot be written.
    """
    root = run.root
    if not run.exists and root.exists() and (not root.is_dir() or _foreign(run)):
        raise UserError(f"{root}: exists and is not a run directory. Give a new or empty one as --out.")
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            pass
    except OSError as error:
        raise UserError(f"{root}: cannot be written ({error.strerror}). Give another --out.") from error
    yield


def _foreign(run: RunDirectory) -> bool:
    """Return True if the directory holds other files than a run leaves before its recipe is written."""
    own = {run.lock.name, run.recipe.name + TEMPORARY, run.fork.name, run.fork.name + TEMPORARY}
    empty = {folder.name for folder in (run.arms, run.logs) if folder.is_dir() and not any(folder.iterdir())}
    return any(path.name not in own | empty for path in run.root.iterdir())


def begin_run(loaded: LoadedRecipe, run: RunDirectory) -> RunDirectory:
    """Write the recipe of a new run, or check that the directory's recipe is the same. Return `run`.

    Raises:
        UserError: The directory holds a run of another recipe, or a link that leads out of it.
    """
    if not run.exists:
        make_folder(run.arms)
        make_folder(run.logs)
        write_text(run.recipe, resolved_toml(loaded))
        return run
    require_confined(run)
    begun = read_resolved(run.recipe)
    # The description, the machines and the trackers do not change the results.
    free: dict[str, Any] = {name: getattr(begun, name) for name in ("description", "devices", "cluster", "track")}
    free |= _moved(begun, loaded.recipe)
    if differences := describe_difference(begun, loaded.recipe.model_copy(update=free)):
        listed = "\n  ".join(differences)
        raise UserError(
            f"{run.root}: holds a run of another recipe:\n  {listed}\nGive another --out, or the settings of the first "
            f"start. To continue from a generation of it in a new run: --out NEW --fork-from {run.root}@GENERATION."
        )
    return run


def as_begun(loaded: LoadedRecipe, run: RunDirectory) -> LoadedRecipe:
    """Return a recipe that leaves the number of sequences open with the number in the directory's recipe, if that has one."""
    begun = read_resolved(run.recipe).sample.concurrency
    if loaded.recipe.sample.concurrency != AUTO or begun == AUTO:
        return loaded
    kept = Choices({SEQUENCES_KEY: begun}, {SEQUENCES_KEY: "as when this run started"})
    return kept.applied_to_all(loaded)


def _moved(begun: Recipe, now: Recipe) -> dict[str, Any]:
    """Return the tables of `now` whose path is another one of this machine, with the path at the start of the run.

    Model, source and questions of a language model are compared by content as soon as they are read (`check_same`), so
    the same files may lie elsewhere.
    """
    if not begun.trains_language_model:
        return {}
    tables: dict[str, Any] = {}
    for name in MOVABLE:
        old, new = getattr(begun, name), getattr(now, name)
        if old.path != new.path and all(os.path.isabs(path or "") for path in (old.path, new.path)):
            tables[name] = new.model_copy(update={"path": old.path})
    return tables


def begin_environment(
    run: RunDirectory, model: dict[str, Any], *, resumed: bool, choices: dict[str, Any] | None = None
) -> list[str]:
    """Write `environment.json` of a new run, or compare a resumed run with it.

    Args:
        model: Facts about the model, as `model_facts` returns them.
        choices: Values of "auto" keys, as `chosen.as_facts` returns them.
        resumed: True if the run has committed generations.

    Returns:
        Notes for the user about changes of machine and software; none for a new run.

    Raises:
        UserError: The model, the source or the questions changed.
    """
    variables = noted(os.environ, process_variables())
    facts = {**machine_facts(), "variables": variables, "model": model, "recipe": sha256(run.recipe)}
    now = {**facts, "choices": choices or {}}
    if resumed:
        before = run.read_environment()
        notes = check_same(before, now)
        place = before.get("model", {}).get("path")
        if place is not None and place != model["path"]:
            run.write_environment({**before, "model": {**before["model"], "path": model["path"]}})
            notes.append(
                f"the model was at {place} when this run started and is now at {model['path']}; its content is the same"
            )
        return notes
    run.write_environment(now)
    return []


def check_same(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Compare the environment at the start of a run (`before`) with the present one.

    Returns:
        Notes for the user about changes of machine and software; empty if there are none.

    Raises:
        UserError: The model, the source or the questions changed. One run would mix two experiments.
    """
    model = before.get("model", {})
    if changed := [what for name, what in DECISIVE.items() if name in model and model[name] != now["model"].get(name)]:
        what = " and ".join(dict.fromkeys(changed))
        raise UserError(
            f"{what} changed since this run started: other content, at the same path or at another. Restore the old files, or "
            "start a new run with another --out."
        )
    return [
        f"{name} was {old} when this run started and is now {new}: last bits may differ from here on"
        for name, old, new in _changes(before, now)
    ]


def _changes(before: dict[str, Any], now: dict[str, Any]) -> Iterator[tuple[str, object, object]]:
    """Yield each change of machine and software as its name, old value and new value."""
    yield from _different({"threads": before.get("threads")}, {"threads": now.get("threads")})
    device = before.get("model", {}).get("device")
    yield from _different({"device": device}, {"device": now["model"].get("device")})
    yield from _different(before.get("packages", {}), now.get("packages", {}))
    if before.get("git") and now.get("git"):
        yield from _different({"the checkout's commit": before["git"]}, {"the checkout's commit": now["git"]})


def _different(before: dict[str, Any], now: dict[str, Any]) -> Iterator[tuple[str, object, object]]:
    for name in sorted({*before, *now}):
        if before.get(name) != now.get(name):
            yield name, before.get(name, "not there"), now.get(name, "not there")
