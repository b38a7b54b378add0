"""Files that a recipe is, or names: shipped recipes, and the paths of source, model and questions made absolute.

A path is written relative to something: in a recipe file to the file's folder (where it exists there), on the command
line to the working directory. Once absolute it means the same wherever the run is resumed.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Any

import autophage
from autophage.errors import RecipeError
from autophage.recipe.anchor import BASE
from autophage.recipe.document import Document
from autophage.recipe.gates import GATE, GateTable, gate_class
from autophage.recipe.keys import REMEDIES
from autophage.recipe.literals import printable
from autophage.recipe.positions import Path as Place
from autophage.recipe.schema import FROM_SOURCE, Recipe

SUFFIX = ".toml"
REFERENCE = "anchor.reference"


def shipped_recipes() -> dict[str, Path]:
    """The recipes that come with the package, by name: inside an installed package, or in a source checkout."""
    package = Path(autophage.__file__).resolve().parent
    for folder in (package / "recipes", package.parents[1] / "recipes"):
        if folder.is_dir():
            return {path.stem: path for path in sorted(folder.glob(f"*{SUFFIX}"))}
    return {}


def find_recipe(name_or_path: str) -> tuple[Path, str]:
    """The recipe's file, and how messages name it. A file comes before a shipped recipe of the same name."""
    path = Path(name_or_path)
    shipped = shipped_recipes()
    if not os.path.isfile(path) and name_or_path in shipped:
        found = shipped[name_or_path]
        return found, os.path.relpath(found) if found.is_relative_to(Path.cwd()) else str(found)
    if name_or_path and (os.path.lexists(path) or _hidden(path)):
        return path, name_or_path
    lines = [f"no recipe {printable(name_or_path)!r}: there is no such file, and no shipped recipe of that name"]
    close = difflib.get_close_matches(path.name.removesuffix(SUFFIX), shipped, n=2, cutoff=0.5)
    if close:
        lines.append(f"did you mean {' or '.join(close)}?")
    lines.append(f"shipped recipes: {', '.join(shipped) or 'none'}")
    raise RecipeError("\n    ".join(lines))


def _hidden(path: Path) -> bool:
    """Whether a folder on the way may not be entered, so that the file may well be there."""
    try:
        path.lstat()
    except PermissionError:
        return True
    except (OSError, ValueError):  # not there, too long, or not a path at all
        return False
    return True


def with_absolute_paths(recipe: Recipe, document: Document) -> Recipe:
    """`recipe` with the path of a text or of images absolute, and those of datasets and models where they exist locally."""

    def source(path: str, in_file: bool) -> str:
        if recipe.source.kind == "text" or recipe.learner.kind == "vae":
            return _absolute(path, document, in_file)
        return _where_it_exists(path, document, in_file, folder=False) if recipe.source.kind == "dataset" else path

    def model(path: str, in_file: bool) -> str:
        return path if path == FROM_SOURCE else _where_it_exists(path, document, in_file, folder=True)

    changes: dict[str, object] = {}
    if recipe.source.path is not None:
        mended = source(recipe.source.path, not document.value_place(("source", "path")).override)
        changes["source"] = recipe.source.model_copy(update={"path": mended})
    mended = model(recipe.model.path, not document.value_place(("model", "path")).override)
    changes["model"] = recipe.model.model_copy(update={"path": mended})
    if recipe.anchor.reference != BASE:
        in_file = not document.value_place(("anchor", "reference")).override
        mended = _where_it_exists(recipe.anchor.reference, document, in_file, folder=True)
        changes["anchor"] = recipe.anchor.model_copy(update={"reference": mended})
    changes["questions"] = recipe.questions.model_copy(update=_question_paths(recipe, document))
    if recipe.measure.harness_path is not None:
        mended = _absolute(
            recipe.measure.harness_path, document, not document.value_place(("measure", "harness_path")).override
        )
        changes["measure"] = recipe.measure.model_copy(update={"harness_path": mended})
    changes["gate"] = [_gate_with_paths(gate, (GATE, number), document) for number, gate in enumerate(recipe.gate)]
    changes["remedies"] = {
        name: _bundle_with_paths(bundle, (REMEDIES, name), document) for name, bundle in recipe.remedies.items()
    }
    return recipe.model_copy(update=changes)


def _gate_with_paths(gate: GateTable, at: Place, document: Document) -> GateTable:
    found = {}
    for name in gate.paths:
        if (written := getattr(gate, name)) is not None:
            in_file = not document.value_place((*at, name)).override
            found[name] = _where_it_exists(written, document, in_file, folder=False)
    return gate.model_copy(update=found)


def _bundle_with_paths(bundle: dict[str, Any], at: Place, document: Document) -> dict[str, Any]:
    """A remedy may name files as a recipe does: a teacher, and what its gates load."""
    found = dict(bundle)
    if bundle.get(REFERENCE, BASE) != BASE:
        in_file = not document.value_place((*at, REFERENCE)).override
        found[REFERENCE] = _where_it_exists(bundle[REFERENCE], document, in_file, folder=True)
    if GATE in bundle:
        gates = [gate_class(table["kind"]).model_validate(table) for table in bundle[GATE]]
        placed = [_gate_with_paths(gate, (*at, GATE, number), document) for number, gate in enumerate(gates)]
        found[GATE] = [gate.model_dump(exclude_unset=True) for gate in placed]
    return found


def _question_paths(recipe: Recipe, document: Document) -> dict[str, str]:
    found = {}
    for name in ("path", "entailment"):
        if (written := getattr(recipe.questions, name)) is not None:
            in_file = not document.value_place(("questions", name)).override
            found[name] = _where_it_exists(written, document, in_file, folder=True)
    return found


def _absolute(written: str, document: Document, in_file: bool) -> str:
    path = os.path.expanduser(written)
    if in_file:
        beside = os.path.join(os.path.abspath(document.path.parent), path)
        if os.path.exists(beside):
            return os.path.abspath(beside)
    return os.path.abspath(path)


def _where_it_exists(written: str, document: Document, in_file: bool, folder: bool) -> str:
    """A hub id stays one: a model only becomes a path where that is a folder, so a stray file does not hide it."""
    path = _absolute(written, document, in_file)
    return path if (os.path.isdir(path) if folder else os.path.exists(path)) else written
