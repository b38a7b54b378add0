"""Facts of a run's model and source. A resumed run compares them to detect a change."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autophage.progress import Meter
from autophage.recipe.schema import Recipe
from autophage.recipe.tables.model import FROM_SOURCE
from autophage.store.atomic import sha256

if TYPE_CHECKING:
    from autophage.data.build import RawSource
    from autophage.trainer.resident import ResidentModel

DECISIVE = {
    "digest": "the model",
    "revision": "the model",
    "source": "the source",
    "questions": "what questions.path holds",
}
"""Facts of `model_facts` that must not change during a run, with the thing that each describes."""


def check_model(recipe: Recipe) -> None:
    """Check that the tokenizer of a user's model loads and suits the recipe's prompts and questions.

    Raises:
        UserError: it does not.
    """
    if recipe.model.path != FROM_SOURCE:
        from autophage.data.build import prompt_style
        from autophage.data.posing import in_chat
        from autophage.data.tokens import load_tokenizer

        tokenizer = load_tokenizer(recipe.model.path)
        prompt_style(recipe, tokenizer)
        in_chat(recipe, tokenizer)


def model_facts(recipe: Recipe, path: str, source: RawSource, resident: ResidentModel) -> dict[str, Any]:
    """Return the facts of a run's model and source that `environment.json` keeps.

    `digest` covers weights, configuration and tokenizer of a local folder; None for a hub id. `revision` is the hub's
    commit. `layout` is the division of the model over the trainer's GPUs, in words; None on one device.
    """
    import torch

    from autophage.data.posing import questions_digest, read_questions

    folder = Path(path)
    local = folder.is_dir()
    digest = hashlib.sha256()
    for pattern in ("*.safetensors", "config.json", "tokenizer*"):
        for file in sorted(folder.glob(pattern)) if local else []:
            digest.update(sha256(file).encode())
    return {
        "path": path,
        "kind": FROM_SOURCE if recipe.model.path == FROM_SOURCE else "folder" if local else "hub",
        "parameters": resident.parameters,
        "digest": digest.hexdigest() if local else None,
        "revision": getattr(resident.config, "_commit_hash", None),
        "source": source.digest,
        "questions": questions_digest(read_questions(recipe, source)),
        "layout": resident.layout,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
    }


def model_path(recipe: Recipe, source: RawSource, meter: Meter) -> str:
    """Return the folder or hub id of the studied model.

    A base model "from-source" is trained first. `meter` counts its tokens.
    """
    if recipe.model.path != FROM_SOURCE:
        return recipe.model.path
    from autophage.trainer.base_model import ensure_base_model

    return str(ensure_base_model(recipe, source, meter))
