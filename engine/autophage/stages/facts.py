"""Facts of a run's model and source. A resumed run compares them to detect a change."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autophage.progress import Meter
from autophage.recipe.schema import Recipe
from autophage.recipe.tables.model import FROM_SOURCE
from autophage.recipe.tables.sample import MADE
from autophage.store.atomic import sha256

if TYPE_CHECKING:
    from autophage.data.build import RawSource
    from autophage.trainer.resident import ResidentModel

WEIGHT_FILES = ("*.safetensors", "config.json", "tokenizer*")
PROMPTING_FILES = (
    "generation_config.json", "*.jinja", "chat_template*", "additional_chat_templates/*", "special_tokens_map.json",
    "added_tokens.json", "vocab*", "merges.txt", "*.model", "preprocessor_config.json", "processor_config.json",
)  # fmt: skip
"""Files of a model folder, beside `WEIGHT_FILES`, that decide how it is asked, how text becomes tokens, and what ends one."""
DECISIVE = {
    "digest": "the model",
    "prompting": "the model's tokenizer, chat template or generation config",
    "revision": "the model",
    "source": "the source",
    "questions": "what is asked (questions.path, or the package of questions.kind)",
}
"""Facts of `model_facts` that must not change during a run, with the thing that each describes."""


def check_model(recipe: Recipe, source: RawSource) -> list[str]:
    """Check that a user's model is complete and suits the recipe. Return notes for the user.

    Raises:
        UserError: it does not.
    """
    from autophage.data.tokens import SPECIAL, load_tokenizer

    if recipe.model.path == FROM_SOURCE:
        return source.control_words(SPECIAL)
    from autophage.data.build import prompt_style
    from autophage.data.chat_template import template_notes
    from autophage.data.model_folder import check_model_folder, check_rows, model_config, start_notes
    from autophage.data.posing import CHAT_KINDS, in_chat
    from autophage.trainer.ready_model import ready_model

    path, made = ready_model(recipe.model)
    check_model_folder(path)
    tokenizer = load_tokenizer(path)
    config = model_config(path)
    if config is not None:
        check_rows(path, config, tokenizer)
    asked = prompt_style(recipe, tokenizer) in ("instruct", MADE)
    chats = in_chat(recipe, tokenizer) and recipe.questions.kind in CHAT_KINDS
    notes = template_notes(tokenizer, recipe.model) if asked or chats else []
    return [*made, *start_notes(path, tokenizer), *source.control_words(tokenizer.all_special_tokens), *notes]


def model_facts(recipe: Recipe, path: str, source: RawSource, resident: ResidentModel) -> dict[str, Any]:
    """Return the facts of a run's model and source that `environment.json` keeps.

    `digest` covers weights, configuration and tokenizer of a local folder. `prompting` covers whatever else decides
    prompts, tokens and ends. Both are None for a hub id. `revision` is the hub's commit.
    `layout` is the division of the model over the trainer's GPUs, in words; None on one device.
    """
    import torch

    from autophage.data.posing import questions_digest, read_questions

    folder = Path(path)
    local = folder.is_dir()
    return {
        "path": path,
        "kind": FROM_SOURCE if recipe.model.path == FROM_SOURCE else "folder" if local else "hub",
        "parameters": resident.parameters,
        "digest": _digest(folder, WEIGHT_FILES) if local else None,
        "prompting": _digest(folder, PROMPTING_FILES, named=True) if local else None,
        "revision": getattr(resident.config, "_commit_hash", None),
        "source": source.digest,
        "questions": questions_digest(read_questions(recipe, source)),
        "layout": resident.layout,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
    }


def _digest(folder: Path, patterns: Sequence[str], *, named: bool = False) -> str:
    """Return the SHA-256 of the files of a model folder that match `patterns`.

    Args:
        named: Include the names. A file of another name is not read as a template.
    """
    digest = hashlib.sha256()
    for pattern in patterns:
        for file in sorted(folder.glob(pattern)):
            if file.is_file():
                name = f"{file.relative_to(folder)}\0" if named else ""
                digest.update(f"{name}{sha256(file)}".encode())
    return digest.hexdigest()


def model_path(recipe: Recipe, source: RawSource, meter: Meter) -> str:
    """Return the folder or hub id of the studied model.

    A base model "from-source" is trained first. `meter` counts its tokens. A GGUF file is converted, and an adapter merged,
    where the cache of this machine lacks the result.
    """
    if recipe.model.path != FROM_SOURCE:
        from autophage.trainer.ready_model import ready_model

        return ready_model(recipe.model)[0]
    from autophage.trainer.base_model import ensure_base_model

    return str(ensure_base_model(recipe, source, meter))
