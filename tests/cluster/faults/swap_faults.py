"""A sampler that installs other weights than it is given. It writes its adapters to `AUTOPHAGE_TEST_TRACE`."""

from __future__ import annotations

import json
import os
from pathlib import Path


def changed(weights, change):
    import safetensors.torch

    tensors = safetensors.torch.load(weights.tensors)
    return of(weights, safetensors.torch.save({name: change(name, one) for name, one in sorted(tensors.items())}))


def of(weights, tensors=None, config=None):
    return type(weights)(weights.tensors if tensors is None else tensors, config or weights.config, weights.method)


def stale(weights):
    return changed(weights, lambda name, tensor: tensor * 0 if "lora_B" in name else tensor)


def half(weights):
    cut = of(weights, weights.tensors[: len(weights.tensors) // 2])
    cut.__dict__["digest"] = weights.digest  # what was announced; the rest never came
    return cut


def scale(weights):
    return of(weights, config={**weights.config, "lora_alpha": 2 * weights.config["lora_alpha"]})


def module(weights):
    import safetensors.torch

    tensors = safetensors.torch.load(weights.tensors)
    return of(weights, safetensors.torch.save({name: one for name, one in tensors.items() if "v_proj" not in name}))


def arm(weights):
    import torch

    torch.manual_seed(99)
    return changed(weights, lambda name, tensor: torch.randn_like(tensor) * 0.05 if "lora_B" in name else tensor)


def base(weights):
    return weights


CHANGES = {one.__name__: one for one in (stale, half, scale, module, arm, base)}


def spoil(actors, fault: str) -> None:
    install, remove = actors.SamplerActor.install, actors.SamplerActor.remove

    def spoiled_install(self, label, weights):
        write(self)
        if fault == "base":
            exchange_base(self)
        try:
            return install(self, label, CHANGES[fault](weights))
        finally:
            write(self)

    def spoiled_remove(self, served):
        remove(self, served)
        write(self)

    actors.SamplerActor.install, actors.SamplerActor.remove = spoiled_install, spoiled_remove


def write(actor) -> None:
    with open(os.environ["AUTOPHAGE_TEST_TRACE"], "a") as file:
        print(json.dumps(actor._sampler._call("autophage_adapters")), file=file)


def exchange_base(actor) -> None:
    import safetensors.torch
    import torch

    folder = Path(actor._sampler._engine.vllm_config.model_config.model)
    torch.manual_seed(0)
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    other = {name: tensor + 0.02 * torch.randn_like(tensor) for name, tensor in sorted(tensors.items())}
    actor._sampler._call("autophage_load_base", safetensors.torch.save(other))
