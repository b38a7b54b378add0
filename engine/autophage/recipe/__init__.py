"""What a run is told to do: recipes, read from TOML, checked, and unfolded into arms.

Knows files, keys and values; does not know models, samplers or trainers, and imports nothing heavy, so that a recipe's
faults are told at once.
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
