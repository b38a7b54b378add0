"""Loading: from the name or file of a recipe and `--set` values to a complete recipe and its arms.

This module owns the order of the steps and the origin of every value. Each step is a module of its own. Faults become one
`RecipeError`; keys without effect become warnings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autophage.recipe.arms import Arm, expand
from autophage.recipe.consistency import check_arms
from autophage.recipe.inert import inert_warnings
from autophage.recipe.keys import APART, SWEEP, path_of
from autophage.recipe.overrides import apply_overrides
from autophage.recipe.paths import find_recipe, with_absolute_paths
from autophage.recipe.profiles import choose_profile
from autophage.recipe.remedies import check_choice, flatten_remedies
from autophage.recipe.resolved import flat, to_toml
from autophage.recipe.schema import Recipe
from autophage.recipe.secrecy import check_secrecy
from autophage.recipe.sweeps import check_names, flatten_sweep
from autophage.recipe.syntax.document import TomlDocument, read_document
from autophage.recipe.syntax.faults import raise_faults
from autophage.recipe.tables.gate import GATE
from autophage.recipe.validate import validate

DEFAULT = "default"


@dataclass(frozen=True)
class LoadedRecipe:
    """A checked recipe with its arms.

    `provenance` maps every dotted key to "default", "FILE:LINE" or "--set". `warnings` are lines about keys without
    effect. `path` is the file that was read.
    """

    recipe: Recipe
    arms: list[Arm]
    provenance: dict[str, str]
    warnings: list[str]
    path: Path


def read_recipe_file(name_or_path: str) -> TomlDocument:
    """Find, decode and parse the file of a recipe. Keys and values are not checked.

    Raises:
        RecipeError: the recipe is not found, or is not TOML.
    """
    return read_document(*find_recipe(name_or_path))


def load_recipe(name_or_path: str, overrides: Sequence[str] = (), profile: str | None = None) -> LoadedRecipe:
    """Load and check a recipe file, or a shipped recipe by name. Return it with its arms.

    Args:
        name_or_path: a file comes before a shipped recipe of the same name.
        overrides: `key=value` settings, applied over the file; the last one of a key wins.
        profile: profile of the recipe; None takes the default of the file.

    Raises:
        RecipeError: anything is wrong with the recipe. The message lists every fault.
    """
    document = read_recipe_file(name_or_path)
    choose_profile(document, profile)
    flatten_sweep(document)
    flatten_remedies(document)
    faults = apply_overrides(document, overrides)
    recipe = validate(document, faults)
    raise_faults(check_secrecy(recipe, document))
    recipe = with_absolute_paths(recipe, document)
    raise_faults(check_choice(recipe, document))
    raise_faults(check_names(recipe, document))
    arms = expand(recipe)
    raise_faults(check_arms(recipe, arms, document))
    warnings = inert_warnings(recipe, arms, document)
    return LoadedRecipe(recipe, arms, _provenance(recipe, document), warnings, document.path)


def resolved_toml(loaded: LoadedRecipe) -> str:
    """Return the complete recipe as TOML text, with the origin of every value.

    `read_resolved` reads the text back as an equal recipe.
    """
    return to_toml(loaded.recipe, loaded.provenance)


def _provenance(recipe: Recipe, document: TomlDocument) -> dict[str, str]:
    keys = [*flat(recipe), *([] if recipe.sweep else [SWEEP])]
    return {key: _origin(key, document) for key in keys}


def _origin(dotted: str, document: TomlDocument) -> str:
    path = path_of(dotted)
    listed = path[0] in (*APART, GATE)
    above = [path[:length] for length in range(1, len(path))] if listed else []
    if document.written(path) or any(one in document.overrides for one in above):
        return document.key_location(path).provenance
    return DEFAULT
