"""The parts of a model that a method trains: the layers with adapters, and the weights by their names in the checkpoint.

Both are decided by the model's layers. A model without values, on torch's meta device, is therefore enough to refuse a family
before any weights are read.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from autophage.errors import UserError, foreign_errors


def linear_layers(base: Any) -> list[str]:
    """Return the names of a model's linear layers without the LM head.

    Experts whose weights are fused in one parameter are no linear layers. PEFT can adapt them, but vLLM cannot take that.
    """
    from transformers.pytorch_utils import Conv1D

    head = base.get_output_embeddings()
    return [
        name
        for name, module in base.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D) and module is not head
    ]


def fused_experts(base: Any) -> int:
    """Return the number of weights in fused experts, [experts, out, in] each."""
    return sum(
        parameter.numel()
        for module in base.modules()
        if not isinstance(module, torch.nn.modules.conv._ConvNd)
        for parameter in module.parameters(recurse=False)
        if parameter.dim() == 3 and len(parameter) > 1
    )


def adapter_config(layers: Collection[str], rank: int, alpha: float) -> Any:
    """Return PEFT's configuration of an adapter on `layers`."""
    from peft import LoraConfig

    return LoraConfig(
        r=rank,
        lora_alpha=alpha,  # type: ignore[arg-type]
        target_modules=list(layers),
        task_type="CAUSAL_LM",
    )


@contextmanager
def adapters_refused(path: str) -> Iterator[None]:
    """Tell an error with which PEFT refuses the model at `path` as a `UserError` with the remedy."""
    with foreign_errors(f"model {path!r}: PEFT cannot put adapters on it", 'Train all weights: method = "full".'):
        yield


def stored_parameters(path: str, model: Any, remedy: str = 'Use method = "lora".') -> dict[str, torch.nn.Parameter]:
    """Return the parameters of a model by their names in its checkpoint, sorted. Tied weights appear once.

    transformers renames the weights of some families when it loads them.

    Raises:
        UserError: The checkpoint stores them otherwise, such as one tensor for each expert.
    """
    from transformers.core_model_loading import revert_weight_conversion

    parameters = dict(model.named_parameters())
    stored = revert_weight_conversion(model, {**parameters, **_stored_buffers(model)})
    own = {id(parameter) for parameter in parameters.values()}
    strange = sorted(name for name, tensor in stored.items() if id(tensor) not in own)
    if strange or len(stored) != len(parameters):
        shown = f"{strange[0]} differs" if strange else "their number differs"
        raise UserError(
            f'model.path = {path!r}: method = "full" needs a model with equal weights in memory and in its checkpoint, '
            f"but {shown} ({len(strange)} such). {remedy}"
        )
    return dict(sorted(stored.items()))


def _stored_buffers(model: Any) -> dict[str, torch.Tensor]:
    stored = model.state_dict()
    return {name: tensor for name, tensor in model.named_buffers() if name in stored}


def require_trainable(
    path: str, config: Any, methods: Collection[str], instead: str = 'Use method = "lora".'
) -> list[str]:
    """Check that a family can be trained by `methods`, from its configuration in transformers. Return notes for the user.

    A model that cannot be made without values passes. Loading it tells.

    Args:
        instead: Remedy where all weights cannot be trained.

    Raises:
        UserError: PEFT puts no adapters on it, or its weights are stored otherwise than they are trained.
    """
    from transformers import AutoModelForCausalLM

    try:
        with torch.device("meta"):
            empty = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except Exception:  # a family may need values while it is made
        return []
    if "full" in methods:
        stored_parameters(path, empty, instead)
    if "lora" not in methods:
        return []
    from peft import get_peft_model

    experts, whole = fused_experts(empty), empty.num_parameters()
    with adapters_refused(path), warnings.catch_warnings(action="ignore"):
        get_peft_model(empty, adapter_config(linear_layers(empty), 1, 1.0))
    if not experts:
        return []
    return [
        f"model {path!r}: adapters sit on its linear layers alone; the experts, {experts / whole:.0%} of its weights, stay "
        "as they are"
    ]
