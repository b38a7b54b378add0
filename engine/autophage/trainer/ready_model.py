"""The model that a recipe names, as a folder that every part can load: converted or merged once, in the cache.

    FILE.gguf                     transformers reads it and the weights are written as safetensors   (`gguf_conversion`)
    adapter folder                its base with the adapter added, if `model.merge_adapter` asks for it     (`merging`)
    any other folder, a hub id    is used as it is

The name of a cached folder hashes everything that decides its content. What is worth telling about it lies beside the
weights, and is told at every run.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from autophage.data.gguf_file import is_gguf
from autophage.data.model_folder import ADAPTER_CONFIG, model_key
from autophage.errors import UserError
from autophage.host.cache import cache_folder
from autophage.recipe.tables.model import ModelTable
from autophage.trainer.made_once import made_once

NOTES = "autophage.json"


def ready_model(table: ModelTable) -> tuple[str, list[str]]:
    """Return the folder or hub id of the model that a `[model]` table names, and notes for the user.

    Raises:
        UserError: The file cannot be converted, the adapter cannot be merged, or a package is missing.
    """
    path = Path(table.path)
    if table.merge_adapter and not (path / ADAPTER_CONFIG).is_file():
        raise UserError(f"model.merge_adapter = true: {table.path} is no adapter folder. Remove the key.")
    if is_gguf(table.path):
        from autophage.trainer.gguf_conversion import VERSION, convert, require_gguf

        require_gguf(table.path)
        return _made(model_key("gguf", VERSION, path), lambda folder: convert(path, folder))
    if table.merge_adapter:
        from autophage.trainer.merging import VERSION, base_of, merge

        base, commit = base_of(path)
        key = model_key("merged", VERSION, path, base if commit is None else f"{base}@{commit}")
        return _made(key, lambda folder: merge(path, base, folder))
    return table.path, []


def _made(name: str, make: Callable[[Path], list[str]]) -> tuple[str, list[str]]:
    def filled(folder: Path) -> None:
        notes = make(folder)
        (folder / NOTES).write_text(json.dumps(notes, indent=1) + "\n", "utf-8")

    folder = made_once(cache_folder() / "models" / name, filled)
    notes = [str(note) for note in json.loads((folder / NOTES).read_text("utf-8"))]
    return str(folder), [f"{note} (made once, in {folder})" if place == 0 else note for place, note in enumerate(notes)]
