"""The subject of every scenario: a small model with sharp distributions, its adapters, and its float32 reference."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load, save
from transformers import LlamaConfig, LlamaForCausalLM

from autophage.metrics.scored import Statistics
from autophage.sampler.protocol import Completion, Request
from autophage.sampler.record import NAMES
from autophage.store.weights import Weights

VOCABULARY, STOP, LONGEST = 512, 7, 256
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
LORA = LoraConfig(r=8, lora_alpha=8, target_modules=list(TARGETS), task_type="CAUSAL_LM")
SHARPER = 15
"""Factor of the head. Untrained distributions are nearly flat, and tell neither rows nor adapters apart."""


class Reference:
    """The model under transformers and PEFT, and the weights that are derived from it."""

    def __init__(self, folder: Path) -> None:
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=LONGEST,
        )
        model: Any = LlamaForCausalLM(config)
        model.lm_head.weight.data *= SHARPER
        model.save_pretrained(folder)
        self._original = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        self._model: Any = get_peft_model(model.eval(), LORA)
        wrapped: Any = self._model.base_model.model
        self._parameters = dict(wrapped.named_parameters())
        self._config = json.loads(json.dumps({**LORA.to_dict(), "target_modules": list(TARGETS)}, default=str))
        self.zero = self.adapter(0)
        self._loaded: Weights | None = None

    def adapter(self, seed: int) -> Weights:
        """Return a random adapter. That of seed 0 changes nothing."""
        generator = torch.Generator().manual_seed(seed)
        tensors = {}
        for name, tensor in sorted(get_peft_model_state_dict(self._model).items()):
            scale = 0.1 if "lora_A" in name else 0.05 * (1 + seed % 3) * (seed > 0)
            tensors[name] = scale * torch.randn(tensor.shape, generator=generator)
        return Weights(save(tensors), self._config)

    def whole(self, seed: int) -> Weights:
        """Return whole weights at a random distance from the original ones."""
        generator = torch.Generator().manual_seed(seed)
        moved = {
            name: tensor + 0.3 * tensor.std().clamp(min=0.1) * torch.randn(tensor.shape, generator=generator)
            for name, tensor in sorted(self._original.items())
        }
        return Weights(save(moved), {}, "full")

    def differences(
        self, weights: Weights | None, requests: Sequence[Request], found: Sequence[Completion]
    ) -> dict[str, float]:
        """Return the largest difference of each statistic from a forward pass of each document alone.

        `weights` None is the original model.
        """
        worst = dict.fromkeys(NAMES, 0.0)
        for request, one in zip(requests, found, strict=True):
            assert one.statistics is not None
            logits = self._logits(weights, request.prompt_ids, one.token_ids)
            for name, difference in _differences(logits, one.token_ids, one.statistics):
                worst[name] = max(worst[name], difference)
        return worst

    def _logits(self, weights: Weights | None, prompt: list[int], token_ids: list[int]) -> torch.Tensor:
        self._load(weights or self.zero)
        with torch.inference_mode():
            logits: torch.Tensor = self._model(torch.tensor([[*prompt, *token_ids]])).logits[0]
        return logits[len(prompt) - 1 : -1]

    def _load(self, weights: Weights) -> None:
        if weights is self._loaded:
            return
        self._loaded = weights
        full = weights.method == "full"
        for name, tensor in (load(weights.tensors) if full else self._original).items():
            # PEFT renames the layers that it wraps.
            named = name if name in self._parameters else name.replace(".weight", ".base_layer.weight")
            self._parameters[named].data.copy_(tensor)
        set_peft_model_state_dict(self._model, load((self.zero if full else weights).tensors))


def _differences(logits: torch.Tensor, token_ids: list[int], found: Statistics) -> list[tuple[str, float]]:
    """Compute statistics in float64 from float32 logits. A rank may fall anywhere among tokens within 1e-5."""
    log_p = logits.double().log_softmax(-1)
    token = torch.tensor(token_ids)[:, None]
    p, chosen = log_p.exp(), log_p.gather(1, token)
    entropy = -(p * log_p).sum(-1)
    expected = {
        "logprob": chosen[:, 0],
        "entropy": entropy,
        "varentropy": (p * log_p.square()).sum(-1) - entropy.square(),
        "max_prob": p.max(-1).values,
    }
    differences = [
        (name, float(np.abs(getattr(found, name) - values.numpy()).max())) for name, values in expected.items()
    ]
    low, high = ((1 + (log_p > chosen + slack).sum(-1)).numpy() for slack in (1e-5, -1e-5))
    outside = np.maximum(low - found.rank, found.rank - high).max()
    return [*differences, ("rank", max(0.0, float(outside)))]
