"""Variants of a resident model, by which of its weights are trained: a LoRA adapter, or a copy of all weights.

`Weights` are loaded into the parameters of a variant and read out of them by their stored names. The names of an
adapter are PEFT's. Those of a full model are the checkpoint's, tied weights once. Adapters of several ranks sit on one
base, and one of them is live at a time. A full model has its own weights. Trained weights are in float32: most updates
are below a few thousandths of a weight and would vanish in bfloat16. All variants compute in the sampler's type. For
scoring their weights are rounded to that type, as they are served.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import safetensors.torch
import torch

from autophage.store.weights import Method, Weights
from autophage.trainer.head import LanguageHead, find_head
from autophage.trainer.loading import load_model
from autophage.trainer.trainable import stored_parameters

Tensors = dict[str, torch.Tensor]


@dataclasses.dataclass(frozen=True)
class Variant:
    """The trainable parameters of a model, by stored name. `model` and `head` compute with their current values."""

    model: Any
    head: LanguageHead
    parameters: dict[str, torch.nn.Parameter]
    config: dict[str, Any]
    method: Method
    scored: torch.dtype
    """Type to which weights are rounded for scoring."""

    def put(self, tensors: Mapping[str, torch.Tensor], *, rounded: bool) -> None:
        """Copy `tensors`, by stored name, into the parameters: rounded to the type `scored`, or as they are."""
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                tensor = tensors[name]
                parameter.copy_(tensor.to(self.scored) if rounded else tensor)

    def take(self) -> Weights:
        """Return the current values of the parameters as `Weights` in float32."""
        return Weights(to_bytes(self.parameters), self.config, self.method)

    def head_of(self, tensors: Mapping[str, torch.Tensor]) -> LanguageHead:
        """Return the LM head of the same model with the weights `tensors`.

        A full model has its own head. Adapters share the live one.
        """
        names = {id(parameter): name for name, parameter in self.parameters.items()}
        own = {part: names.get(id(getattr(self.head, part))) for part in ("weight", "bias")}
        changed: dict[str, Any] = {part: tensors[name] for part, name in own.items() if name is not None}
        return dataclasses.replace(self.head, **changed)


def lora_variant(model: Any, name: str, head: LanguageHead) -> Variant:
    """Make adapter `name` of a PEFT model the live one, and return it as a variant with the LM head `head`.

    The variant computes in the type of the base.
    """
    from peft import get_peft_model_state_dict

    model.set_adapter(name)
    found = {parameter.data_ptr(): parameter for parameter in model.parameters()}
    stored: Tensors = get_peft_model_state_dict(model, adapter_name=name)
    config = model.peft_config[name].to_dict()
    config["target_modules"] = sorted(config["target_modules"])
    config["inference_mode"] = True
    parameters = {key: found[tensor.data_ptr()] for key, tensor in sorted(stored.items())}
    return Variant(model, head, parameters, _plain(config), "lora", model.get_base_model().dtype)


def leave_inputs(model: Any) -> None:
    """Stop the adapters of a PEFT model from casting their inputs to float32.

    Autocast then decides the type of their products. It is the type of the base, in which a sampler computes them.
    """
    from peft.tuners.lora import LoraLayer

    for module in model.modules():
        if isinstance(module, LoraLayer):
            module.cast_input_dtype_enabled = False


def narrower(compute: torch.dtype) -> torch.dtype | None:
    """Return the type `compute` for `find_head`, or None if it is that of trained weights, float32."""
    return None if compute is torch.float32 else compute


def full_variant(path: str, base: Tensors, compute: torch.dtype) -> tuple[Variant, Tensors]:
    """Load the model at `path` again with every weight trainable, set to the tensors `base`.

    The variant computes in the type `compute`.

    Args:
        base: Weights by their names in memory.

    Returns:
        The variant, and `base` by stored name.

    Raises:
        UserError: the weights in memory differ from those of the checkpoint, as in families with fused weights.
    """
    model = load_model(path, torch.float32, compute=compute)
    parameters = stored_parameters(path, model)
    in_memory = {id(parameter): name for name, parameter in model.named_parameters()}
    untrained = {name: base[in_memory[id(parameter)]] for name, parameter in parameters.items()}
    for parameter in parameters.values():
        parameter.requires_grad_()
    config = _plain(model.config.to_diff_dict()) | {"architectures": [type(model).__name__], "dtype": "float32"}
    config.pop("_name_or_path", None)
    variant = Variant(model, find_head(model, narrower(compute)), parameters, config, "full", compute)
    variant.put(untrained, rounded=False)
    return variant, untrained


def to_bytes(tensors: Mapping[str, torch.Tensor]) -> bytes:
    """Return named tensors as safetensors bytes in float32.

    Order, type and device of the tensors do not change them.
    """
    plain = {name: tensor.detach().to("cpu", torch.float32).contiguous() for name, tensor in sorted(tensors.items())}
    return safetensors.torch.save(plain)


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(config, default=str, sort_keys=True))
    return plain
