"""Replaces the weights of the model that vLLM runs, in place and by the checkpoint's names.

A loaded model has another form than its checkpoint. A CPU's linear layers keep only a packed copy of their weight, and LoRA
wraps layers under other names. The wrappers are therefore taken off the module tree meanwhile. vLLM's layer-by-layer reload
gives each layer its checkpoint form back, loads it, and packs it into the tensors in use. Adapters stay registered and
active. Each worker gets all weights and takes its shard. The names hold for vLLM 0.26 to 0.33.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

NamedTensors = Iterable[tuple[str, torch.Tensor]]


@torch.no_grad()
def load_into(runner: Any, named: NamedTensors) -> None:
    """Put a checkpoint's tensors, as (name, tensor), into the model of vLLM's `runner`, in place.

    After an error the model is a mixture and must be loaded again.

    Raises:
        ValueError: A weight of the model is missing, or a tensor is no weight of the model.
    """
    from vllm.model_executor.model_loader.reload.layerwise import finalize_layerwise_reload, initialize_layerwise_reload

    model = runner.get_model()
    with _without_wrappers(model), torch.device(runner.device):
        initialize_layerwise_reload(model)
        try:
            loaded = model.load_weights(named)
        except KeyError as error:
            raise ValueError(f"the model has no weight {error}") from error
        finally:
            finalize_layerwise_reload(model, runner.vllm_config.model_config)
        if loaded is not None and (missing := sorted({name for name, _ in model.named_parameters()} - loaded)):
            raise ValueError(f"no weights came for {', '.join(missing[:4])} ({len(missing)} in all)")
    _pack_tied(model)


def original_weights(runner: Any) -> NamedTensors:
    """Return the tensors of the checkpoint that the engine was started with, as (name, tensor)."""
    from vllm.model_executor.model_loader import get_model_loader

    loader: Any = get_model_loader(runner.vllm_config.load_config)
    tensors: NamedTensors = loader.get_all_weights(runner.vllm_config.model_config, runner.get_model())
    return tensors


@contextmanager
def _without_wrappers(model: torch.nn.Module) -> Iterator[None]:
    """Put each layer in place of its LoRA wrapper during the body."""
    from vllm.lora.layers import BaseLayerWithLoRA

    wrapped = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if isinstance(child, BaseLayerWithLoRA)
    ]
    try:
        for parent, name, wrapper in wrapped:
            setattr(parent, name, wrapper.base_layer)
        yield
    finally:
        for parent, name, wrapper in wrapped:
            setattr(parent, name, wrapper)


def _pack_tied(model: torch.nn.Module) -> None:
    """Pack the weights of the CPU's linear layers again.

    A head tied to the embeddings gets no weights of its own. It would keep the packed copy of the old ones.
    """
    for layer in model.modules():
        weight = layer._parameters.get("weight")
        if "cpu_linear" in layer.__dict__ and weight is not None and weight.numel():
            layer.quant_method.process_weights_after_loading(layer)  # type: ignore[operator,union-attr]
