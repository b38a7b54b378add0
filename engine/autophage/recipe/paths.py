"""Files of recipes: shipped recipes, and the paths that a recipe names.

A path in a recipe file is relative to the folder of the file, if it exists there. A path on the command line is relative to the
working directory. Loading makes it absolute, so that it means the same wherever the run is resumed.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Any

from autophage.display import safe
from autophage.errors import RecipeError
from autophage.recipe.keys import PATHS, REMEDIES, SWEEP
from autophage.recipe.schema import Recipe
from autophage.recipe.syntax.document import TomlDocument
from autophage.recipe.syntax.positions import KeyPath
from autophage.recipe.tables.anchor import BASE
from autophage.recipe.tables.gate import GATE, GateTable, gate_class
from autophage.recipe.tables.model import FROM_SOURCE

PACKAGE = Path(__file__).resolve().parents[1]
"""The folder of the package `autophage`, in a source checkout or installed."""
SUFFIX = ".toml"
GGUF = ".gguf"
"""End of a model's path that is a file, never a hub id."""
NO_PATH = {"model.path": FROM_SOURCE, "anchor.reference": BASE}
"""Dotted path key to its value that is never a path, even if a folder has the same name."""


def shipped_recipes() -> dict[str, Path]:
    """Return the files of the recipes that ship with the package, by name; empty if their folder is missing.

    The folder lies in the installed package, or beside the sources.
    """
    for folder in (PACKAGE / "recipes", PACKAGE.parents[1] / "recipes"):
        if folder.is_dir():
            return {path.stem: path for path in sorted(folder.glob(f"*{SUFFIX}"))}
    return {}


def find_recipe(name_or_path: str) -> tuple[Path, str]:
    """Return the file of a recipe, and its name in messages.

    A file comes before a shipped recipe of the same name.

    Raises:
        RecipeError: neither a file nor a shipped recipe has that name.
    """
    path = Path(name_or_path)
    shipped = shipped_recipes()
    if not os.path.isfile(path) and name_or_path in shipped:
        found = shipped[name_or_path]
        return found, os.path.relpath(found) if found.is_relative_to(Path.cwd()) else str(found)
    if name_or_path and (os.path.lexists(path) or _hidden(path)):
        return path, name_or_path
    lines = [f"no recipe {safe(name_or_path)!r}: there is no such file, and no shipped recipe of that name"]
    close = difflib.get_close_matches(path.name.removesuffix(SUFFIX), shipped, n=2, cutoff=0.5)
    if close:
        lines.append(f"did you mean {' or '.join(close)}?")
    lines.append(f"shipped recipes: {', '.join(shipped) or 'none'}")
    raise RecipeError("\n    ".join(lines))


def _hidden(path: Path) -> bool:
    """Return True if a parent folder may not be entered, so that the file may exist."""
    try:
        path.lstat()
    except PermissionError:
        return True
    except (OSError, ValueError):  # missing, too long, or not a path
        return False
    return True


def with_absolute_paths(recipe: Recipe, document: TomlDocument) -> Recipe:
    """Return a copy of `recipe` with absolute paths, in its tables, sweep, gates and remedies.

    The path of a text or of images always becomes absolute. A path of a dataset or model becomes absolute if it exists
    locally.
    """
    changes: dict[str, Any] = {}
    for dotted in PATHS:
        table, name = dotted.split(".")
        held = changes.get(table, getattr(recipe, table))
        if (written := getattr(held, name)) is not None:
            changes[table] = held.model_copy(update={name: _placed(recipe, dotted, written, (table, name), document)})
    changes["sweep"] = {
        dotted: [_placed(recipe, dotted, value, (SWEEP, dotted, index), document) for index, value in enumerate(values)]
        for dotted, values in recipe.sweep.items()
    }
    changes["gate"] = [_gate_with_paths(gate, (GATE, number), document) for number, gate in enumerate(recipe.gate)]
    changes["remedies"] = {
        name: _bundle_with_paths(recipe, bundle, (REMEDIES, name), document) for name, bundle in recipe.remedies.items()
    }
    return recipe.model_copy(update=changes)


def _placed(recipe: Recipe, dotted: str, value: Any, at: KeyPath, document: TomlDocument) -> Any:
    """Return the value of a key, written at `at` in the document. A path becomes absolute."""
    if dotted not in PATHS or value == NO_PATH.get(dotted):
        return value
    in_file = not document.value_location(at).override
    own_files = dotted == "source.path" and (recipe.source.kind == "text" or recipe.learner.kind == "vae")
    if own_files or dotted in ("measure.harness_path", "track.folder"):
        return _absolute(value, document, in_file)
    if dotted == "source.path":
        is_dataset = recipe.source.kind == "dataset"
        return _where_it_exists(value, document, in_file, folder=False) if is_dataset else value
    file = dotted == "model.path" and value.lower().endswith(GGUF)
    return _absolute(value, document, in_file) if file else _where_it_exists(value, document, in_file, folder=True)


def _gate_with_paths(gate: GateTable, at: KeyPath, document: TomlDocument) -> GateTable:
    found = {}
    for name in gate.paths:
        if (written := getattr(gate, name)) is not None:
            in_file = not document.value_location((*at, name)).override
            found[name] = _where_it_exists(written, document, in_file, folder=False)
    return gate.model_copy(update=found)


def _bundle_with_paths(recipe: Recipe, bundle: dict[str, Any], at: KeyPath, document: TomlDocument) -> dict[str, Any]:
    """Return the settings of a remedy with absolute paths. It may name a teacher, and files of its gates."""
    found = {dotted: _placed(recipe, dotted, value, (*at, dotted), document) for dotted, value in bundle.items()}
    if GATE in bundle:
        gates = [gate_class(table["kind"]).model_validate(table) for table in bundle[GATE]]
        placed = [_gate_with_paths(gate, (*at, GATE, number), document) for number, gate in enumerate(gates)]
        found[GATE] = [gate.model_dump(exclude_unset=True) for gate in placed]
    return found


def _absolute(written: str, document: TomlDocument, in_file: bool) -> str:
    path = os.path.expanduser(written)
    if in_file:
        beside = os.path.join(os.path.abspath(document.path.parent), path)
        if os.path.exists(beside):
            return os.path.abspath(beside)
    return os.path.abspath(path)


def _where_it_exists(written: str, document: TomlDocument, in_file: bool, folder: bool) -> str:
    """Return the absolute path of `written` if it exists, else `written`, which is then a hub id.

    With `folder`, it must be a folder: a stray file does not hide a hub id.
    """
    path = _absolute(written, document, in_file)
    return path if (os.path.isdir(path) if folder else os.path.exists(path)) else written
