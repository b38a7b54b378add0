"""A sampler that installs other weights than it is given. It writes its adapters to `AUTOPHAGE_TEST_TRACE`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # nothing is imported before the run itself imports it
    import torch

    from autophage.store.weights import Weights


def changed(weights: Weights, change: Callable[[str, torch.Tensor], torch.Tensor]) -> Weights:
    import safetensors.torch

    tensors = safetensors.torch.load(weights.tensors)
    return of(weights, safetensors.torch.save({name: change(name, one) for name, one in sorted(tensors.items())}))


def of(weights: Weights, tensors: bytes | None = None, config: dict[str, Any] | None = None) -> Weights:
    return type(weights)(weights.tensors if tensors is None else tensors, config or weights.config, weights.method)


def stale(weights: Weights) -> Weights:
    return changed(weights, lambda name, tensor: tensor * 0 if "lora_B" in name else tensor)


def half(weights: Weights) -> Weights:
    cut = of(weights, weights.tensors[: len(weights.tensors) // 2])
    cut.__dict__["digest"] = weights.digest  # what was announced; the rest never came
    return cut


def scale(weights: Weights) -> Weights:
    return of(weights, config={**weights.config, "lora_alpha": 2 * weights.config["lora_alpha"]})


def module(weights: Weights) -> Weights:
    import safetensors.torch

    tensors = safetensors.torch.load(weights.tensors)
    return of(weights, safetensors.torch.save({name: one for name, one in tensors.items() if "v_proj" not in name}))


def arm(weights: Weights) -> Weights:
    import torch

    torch.manual_seed(99)
    return changed(weights, lambda name, tensor: torch.randn_like(tensor) * 0.05 if "lora_B" in name else tensor)


def base(weights: Weights) -> Weights:
    return weights


CHANGES = {one.__name__: one for one in (stale, half, scale, module, arm, base)}


def spoil(actors: Any, fault: str) -> None:
    install, remove = actors.SamplerActor.install, actors.SamplerActor.remove

    def spoiled_install(self: Any, label: str, weights: Weights) -> Any:
        write(self)
        if fault == "base":
            exchange_base(self)
        try:
            return install(self, label, CHANGES[fault](weights))
        finally:
            write(self)

    def spoiled_remove(self: Any, served: Any) -> None:
        remove(self, served)
        write(self)

    actors.SamplerActor.install, actors.SamplerActor.remove = spoiled_install, spoiled_remove


def write(actor: Any) -> None:
    with open(os.environ["AUTOPHAGE_TEST_TRACE"], "a") as file:
        print(json.dumps(actor._sampler._call("autophage_adapters")), file=file)


def exchange_base(actor: Any) -> None:
    import safetensors.torch
    import torch

    folder = Path(actor._sampler._engine.vllm_config.model_config.model)
    torch.manual_seed(0)
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    other = {name: tensor + 0.02 * torch.randn_like(tensor) for name, tensor in sorted(tensors.items())}
    actor._sampler._call("autophage_load_base", safetensors.torch.save(other))
