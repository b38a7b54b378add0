"""Loading of models of transformers from a folder or hub id, whole or not at all."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from transformers import AutoModelForCausalLM
from transformers.utils.logging import disable_progress_bar

from autophage.data.model_folder import check_model_folder
from autophage.data.own_code import own_code_refused
from autophage.errors import UserError, foreign_errors
from autophage.host.devices import device
from autophage.trainer.attention import settle

NAMES_SHOWN = 3
"""Names of tensors that a message shows."""


def load_model(
    path: str, dtype: torch.dtype, where: torch.device | None = None, compute: torch.dtype | None = None
) -> Any:
    """Load a causal language model from a folder or hub id, in evaluation mode.

    The model moves to `where`, or to this process's device if None. `compute` is the type in which it will compute,
    if not `dtype`.

    Raises:
        UserError: the model cannot be loaded, needs code of its own, or has other tensors than its files.
    """
    model = load_pretrained(AutoModelForCausalLM, path, dtype, f"model {path!r}").to(where or device())
    settle(model, compute or dtype)
    return model


def load_pretrained(
    auto_class: Any, path: str, dtype: torch.dtype, what: str, *, without: Collection[str] = (), extra: bool = False
) -> Any:
    """Load a model of a transformers auto class on the CPU, in evaluation mode.

    transformers fills a tensor that the files lack with random numbers, and drops one that the model lacks. Either gives
    another model than the files hold, so both are refused.

    Args:
        what: The model in messages: recipe key or kind, and path.
        without: First parts of the names of tensors that may be missing, because nobody computes with them.
        extra: Accept tensors that the model lacks, as where only the backbone of a model is loaded.

    Raises:
        UserError: the model cannot be loaded, needs code of its own, or has other tensors than its files.
    """
    disable_progress_bar()  # the bar of the weights would disturb the view of a run
    check_model_folder(path)
    with (
        foreign_errors(
            f"{what}: cannot be loaded as {_kind(auto_class)}",
            "Give a folder with config.json and safetensors weights, or a hub id that is reachable or cached.",
        ),
        own_code_refused(path),
    ):
        model, loaded = auto_class.from_pretrained(
            path,
            dtype=dtype,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # its own refusal does not name them
        )
    if loaded["mismatched_keys"]:
        name, held, wanted = min(loaded["mismatched_keys"])
        raise UserError(
            f"{what}: its files hold {name} as {tuple(held)}, and a {type(model).__name__} as in its config.json has "
            f"{tuple(wanted)}. Give files and a config.json that belong together."
        )
    missing = sorted(name for name in loaded["missing_keys"] if name.partition(".")[0] not in without)
    if missing:
        raise UserError(
            f"{what}: its files lack {_shown(missing)}. The model would compute with random numbers there. Give complete files, "
            "and a config.json that belongs to them."
        )
    if loaded["unexpected_keys"] and not extra:
        raise UserError(
            f"{what}: its files hold {_shown(sorted(loaded['unexpected_keys']))}, for which a {type(model).__name__} as in its "
            "config.json has no place. Give files and a config.json that belong together."
        )
    return model.eval()


def _kind(auto_class: Any) -> str:
    return {"AutoModelForCausalLM": "a causal language model", "AutoModel": "an encoder"}.get(
        auto_class.__name__, "a sequence classifier"
    )


def _shown(names: list[str]) -> str:
    more = f" and {len(names) - NAMES_SHOWN} more tensors" if len(names) > NAMES_SHOWN else ""
    return f"{', '.join(names[:NAMES_SHOWN])}{more}"
