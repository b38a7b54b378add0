"""The cache of base models, whose training may be most of a small run."""

from __future__ import annotations

from autophage.errors import UserError
from autophage.recipe.schema import Recipe
from autophage.recipe.tables.model import FROM_SOURCE


def base_is_cached(recipe: Recipe) -> bool:
    """Return True if the recipe's `from-source` base model is trained already.

    Reads the source, whose content names the model. A dataset is not loaded; its base model counts as not cached.
    """
    from autophage.data.base_folder import base_model_folder
    from autophage.data.build import read_source

    if recipe.model.path != FROM_SOURCE or recipe.source.kind == "dataset":
        return False
    try:
        return base_model_folder(recipe, read_source(recipe)).is_dir()
    except UserError:  # a run reports the fault of the source; a plan needs no source
        return False
