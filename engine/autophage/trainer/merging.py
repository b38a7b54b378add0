"""An adapter and its base as one model folder.

The sum is made in float32 and rounded once, to the type of the base's files. A run trains an adapter of its own on it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autophage.data.model_folder import ADAPTER_CONFIG, check_model_folder, read_json
from autophage.errors import UserError, foreign_errors

VERSION = 1
"""Version of merged folders. Raise it when the merge changes."""


def base_of(adapter: Path) -> tuple[str, str | None]:
    """Return the folder or hub id of an adapter's base, and the commit of a hub id.

    A relative path is looked up beside the adapter, then in the working directory.

    Raises:
        UserError: The adapter names no base, or one that is not here.
    """
    from transformers import AutoConfig

    named = read_json(adapter / ADAPTER_CONFIG).get("base_model_name_or_path")
    if not isinstance(named, str) or not named:
        raise UserError(
            f"{adapter / ADAPTER_CONFIG}: names no base_model_name_or_path. Write the folder of its base there."
        )
    for place in (adapter / named, Path(named)):
        if place.is_dir():
            check_model_folder(str(place))
            return str(place.resolve()), None
    with foreign_errors(
        f"{adapter}: its base {named!r} cannot be loaded",
        f"Write the folder of the base into {ADAPTER_CONFIG} as base_model_name_or_path, or load it once with a network.",
    ):
        config = AutoConfig.from_pretrained(named, trust_remote_code=False)
    return named, str(getattr(config, "_commit_hash", None))


def merge(adapter: Path, base: str, folder: Path) -> list[str]:
    """Write the model `base` with an adapter added into `folder`, with its tokenizer. Return notes for the user.

    The adapter's own tokenizer and chat template come first, if its folder has them.

    Raises:
        UserError: One of them cannot be loaded, or the adapter belongs to another model.
    """
    import torch
    from transformers import AutoConfig

    from autophage.data.tokens import load_tokenizer
    from autophage.trainer.adapters import with_adapter
    from autophage.trainer.loading import load_model

    model = load_model(base, torch.float32, torch.device("cpu"))
    stored = AutoConfig.from_pretrained(base, trust_remote_code=False).dtype or torch.float32
    own = (adapter / "tokenizer_config.json").is_file()
    tokenizer: Any = load_tokenizer(str(adapter) if own else base)
    with foreign_errors(
        f"{adapter}: cannot be merged into {base}", "Merge it where it was trained, and give the result."
    ):
        merged: Any = with_adapter(model, adapter, base).merge_and_unload(safe_merge=True)
    merged.to(stored).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    dtype = str(stored).removeprefix("torch.")
    return [f"model.merge_adapter: the adapter {adapter} was merged into its base {base}, in {dtype}"]
