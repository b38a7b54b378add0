"""The cache of base models, whose training may be most of a small run."""

from __future__ import annotations

from autophage.errors import UserError
from autophage.recipe.schema import Recipe
from autophage.recipe.tables.model import FROM_SOURCE


def base_is_cached(recipe: Recipe) -> bool:
    """Return True if the cache holds the base model that a recipe trains from its source.

    The source is read, because its content decides the name of the model's folder. A dataset is not loaded, so its base
    model counts as not cached. The result is also False for a model that is not trained here.
    """
    from autophage.data.base_folder import base_model_folder
    from autophage.data.build import read_source

    if recipe.model.path != FROM_SOURCE or recipe.source.kind == "dataset":
        return False
    try:
        return base_model_folder(recipe, read_source(recipe)).is_dir()
    except UserError:  # a run reports the fault of the source; a plan needs no source
        return False
