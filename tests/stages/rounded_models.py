"""A tiny Llama before and after a small training step, served and scored with the rounding of 16 bits.

The served model computes in bfloat16 throughout. The trainer computes in bfloat16 with a float32 residual stream, so that the
two round differently. Logits lie about `scale`: a constant is added to them, which changes no probability but the spacing of
16-bit numbers. `rounded_head` rounds the served logits to bfloat16 too.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

VOCABULARY, CONTEXT, PROMPTS, TOKENS = 256, 8, 128, 16
SCALES = (1, 4, 16, 64)
WEIGHTS_BEFORE = 0.03
"""Standard deviation of the B factors before the step: those of an adapter some generations old."""


@dataclass(frozen=True)
class Swap:
    """Log-probs [N] of the canary's tokens at one swap: by the trainer, and as served with the new and the old adapter."""

    scale: int
    rounded_head: bool
    trained: np.ndarray
    before: np.ndarray
    fresh: np.ndarray
    stale: np.ndarray


def swaps(seed: int, rate: float, steps: int) -> Iterator[Swap]:
    """Yield the swaps after `steps` AdamW steps at learning rate `rate`, one for each scale and kind of head."""
    draws = torch.Generator().manual_seed(seed)
    model = _model(seed)
    factors = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    with torch.no_grad():
        for name, parameter in factors.items():
            if "lora_B" in name:
                parameter.normal_(0, WEIGHTS_BEFORE, generator=draws)
    old = {name: parameter.detach().clone() for name, parameter in factors.items()}
    _train(model, factors, draws, rate, steps)
    new = {name: parameter.detach().clone() for name, parameter in factors.items()}
    served = copy.deepcopy(model).to(torch.bfloat16)
    ids_BL = torch.randint(0, VOCABULARY, (PROMPTS, CONTEXT + TOKENS), generator=draws)
    head_VH = model.get_base_model().lm_head.weight
    with torch.no_grad():
        hidden = {}
        for name, values in (("new", new), ("old", old)):
            _put(model, values)
            _put(served, values)
            with torch.autocast("cpu", torch.bfloat16):
                hidden["trainer", name] = _backbone(model, ids_BL).to(torch.bfloat16).float()
            hidden["sampler", name] = _backbone(served, ids_BL).float()
        logits = {key: hidden_BLH[:, CONTEXT:] @ head_VH.T for key, hidden_BLH in hidden.items()}
        chance_NV = logits["sampler", "new"].softmax(-1).flatten(0, 1)
        target_N = torch.multinomial(chance_NV, 1, generator=draws)
        for scale in SCALES:
            for rounded in (False, True):
                of = {
                    key: _logprobs(logits_BLV + scale, target_N, rounded=rounded and key[0] == "sampler")
                    for key, logits_BLV in logits.items()
                }
                yield Swap(
                    scale, rounded,
                    of["trainer", "new"], of["trainer", "old"], of["sampler", "new"], of["sampler", "old"],
                )  # fmt: skip


def _model(seed: int) -> Any:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=64, tie_word_embeddings=False, initializer_range=0.1,
    )  # fmt: skip
    base = LlamaForCausalLM(config).eval()
    base.load_state_dict({name: tensor.to(torch.bfloat16).float() for name, tensor in base.state_dict().items()})
    return get_peft_model(base, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear"))


def _train(model: Any, factors: dict[str, Any], draws: torch.Generator, rate: float, steps: int) -> None:
    ids_BL = torch.randint(0, VOCABULARY, (16, 24), generator=draws)
    optimizer = torch.optim.AdamW(factors.values(), lr=rate, weight_decay=0.0)
    for _ in range(steps):
        optimizer.zero_grad()
        model(input_ids=ids_BL, labels=ids_BL).loss.backward()
        optimizer.step()


def _put(model: Any, values: dict[str, torch.Tensor]) -> None:
    for name, parameter in model.named_parameters():
        if name in values:
            parameter.copy_(values[name])


def _backbone(model: Any, ids_BL: torch.Tensor) -> torch.Tensor:
    hidden_BLH: torch.Tensor = model.get_base_model().model(input_ids=ids_BL).last_hidden_state
    return hidden_BLH


def _logprobs(logits_BLV: torch.Tensor, target_N: torch.Tensor, *, rounded: bool) -> np.ndarray:
    logits_NV = (logits_BLV.to(torch.bfloat16).float() if rounded else logits_BLV).flatten(0, 1)
    found: np.ndarray = logits_NV.log_softmax(-1).gather(1, target_N)[:, 0].double().numpy()
    return found
