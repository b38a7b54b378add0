"""Recipes: reading TOML, checking it against the schema, and expanding it into arms.

The package knows files, keys and values. It does not know models, samplers or trainers. It imports nothing heavy, so that
faults of a recipe are reported at once.
"""

from autophage.recipe.arms import Arm, expand
from autophage.recipe.load import LoadedRecipe, load_recipe, read_recipe_file, resolved_toml
from autophage.recipe.paths import shipped_recipes
from autophage.recipe.resolved import describe_difference, read_resolved
from autophage.recipe.schema import Recipe

__all__ = [
    "Arm",
    "LoadedRecipe",
    "Recipe",
    "describe_difference",
    "expand",
    "load_recipe",
    "read_recipe_file",
    "read_resolved",
    "resolved_toml",
    "shipped_recipes",
]
