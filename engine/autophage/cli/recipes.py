"""Verbs about recipes: `recipes` lists them, `show` prints one."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from autophage.cli.output import AsJson, Overrides, Profile, print_json, print_table
from autophage.display import safe


def recipes(*, as_json: AsJson = False) -> int:
    """List the recipes that ship with autophage."""
    from autophage.recipe import read_recipe_file, shipped_recipes

    rows = [
        (name, read_recipe_file(name).data.get("description", ""), path) for name, path in shipped_recipes().items()
    ]
    if as_json:
        print_json([{"name": name, "description": text, "path": str(path)} for name, text, path in rows])
    else:
        print_table(["recipe", "description"], [(name, text) for name, text, _ in rows])
    return 0


def show(
    recipe: str,
    /,
    *,
    resolved: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    profile: Profile = None,
    settings: Overrides = None,
    as_json: AsJson = False,
) -> int:
    """Print a recipe as it is written, or with every default filled in.

    Args:
        recipe: Recipe file, or name of a shipped recipe.
        resolved: Fill in every default, and name the origin of each value.
    """
    from autophage.recipe import load_recipe, read_recipe_file, resolved_toml

    # A recipe as written may lack a value that only its user has, such as a path. A resolved one must be complete.
    if not (resolved or settings or profile or as_json):
        text = read_recipe_file(recipe).path.read_text("utf-8")
        print(safe(text, keep="\n\t"), end="" if text.endswith("\n") else "\n")
        return 0
    loaded = load_recipe(recipe, settings or [], profile)
    text = resolved_toml(loaded) if resolved or settings or profile else loaded.path.read_text("utf-8")
    if as_json:
        values = loaded.recipe.model_dump(mode="json")
        print_json({"path": str(loaded.path), "toml": text, "recipe": values, "warnings": list(loaded.warnings)})
    else:
        print(safe(text, keep="\n\t"), end="" if text.endswith("\n") else "\n")
    return 0
