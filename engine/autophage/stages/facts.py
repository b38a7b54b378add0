"""Facts of a run's model and source, by which a resumed run tells that they are the same."""

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
"""Facts of `model_facts` that must stay as they are while a run goes on, and what each is of."""


def check_model(recipe: Recipe) -> None:
    """See that a model named by the user can be had as far as its tokenizer goes (`UserError` where not)."""
    if recipe.model.path != FROM_SOURCE:
        from autophage.data.build import prompt_style
        from autophage.data.posing import in_chat
        from autophage.data.tokens import load_tokenizer

        tokenizer = load_tokenizer(recipe.model.path)
        prompt_style(recipe, tokenizer)
        in_chat(recipe, tokenizer)


def model_facts(recipe: Recipe, path: str, source: RawSource, resident: ResidentModel) -> dict[str, Any]:
    """What the run says about its model and source, so that a resumed one can tell whether they are the same.

    `digest` is of weights, configuration and tokenizer, where they lie on this machine; `revision` is the hub's commit.
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
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
    }


def model_path(recipe: Recipe, source: RawSource, meter: Meter) -> str:
    """Folder or hub id of the model that is studied; a base model is trained now if the recipe asks for one."""
    if recipe.model.path != FROM_SOURCE:
        return recipe.model.path
    from autophage.trainer.base_model import ensure_base_model

    return str(ensure_base_model(recipe, source, meter))
