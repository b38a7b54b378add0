"""The LM head of a language model, apart from its backbone: token statistics without logits in memory.

A causal language model of transformers is a backbone and an LM head. Some families add a scale and a softcap on the
logits. Hidden states go tile by tile into `autophage_kernels.linear_token_stats`. `find_head` compares the parts with
the model's own logits on a few tokens. Unknown heads or transforms fail that comparison. Such a model uses its own
logits, with one warning.

Shapes: B sequences of L tokens, T chosen positions, H hidden, V vocabulary.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch

from autophage.trainer.attention import documents_of
from autophage.trainer.folding import folded
from autophage.trainer.modes import evaluating
from autophage.trainer.prefill import cache_bytes
from autophage_kernels import TokenDivergence, TokenStats, linear_token_divergence, linear_token_stats
from autophage_kernels import token_divergence as divergence_of_logits
from autophage_kernels import token_stats as stats_of_logits

TRIAL_TOKENS = 8
ROUNDING = {torch.float32: 1e-4, torch.bfloat16: 2e-2, torch.float16: 4e-3, torch.float64: 1e-9}
"""Largest accepted difference between a model's logits and those of its parts, relative to the largest logit.

Rounding to 16 bits gives a few thousandths. A missing scale or softcap gives tenths.
"""

log = logging.getLogger("autophage")


@dataclass(frozen=True)
class LanguageHead:
    """The LM head of a causal language model. It turns the output of `rows` into token statistics or logits.

    A head without a weight is not fused: its rows are the model's own logits.
    """

    model: Any
    backbone: Any
    weight: torch.Tensor | None
    bias: torch.Tensor | None = None
    scale: float = 1.0
    softcap: float | None = None
    compute: torch.dtype | None = None
    """Type of computation if weights or adapters are wider. Autocast wraps the backbone, and the head's weight is cast."""
    cached: int | None = None
    """Bytes of a token's keys and values in a cache; None if rows cannot start from a cached prefix."""

    @property
    def fused(self) -> bool:
        """True if token statistics need no logits in memory."""
        return self.weight is not None

    @property
    def vocabulary(self) -> int:
        """Number of logits at each position."""
        return int(self.model.config.get_text_config().vocab_size)

    def rows(self, inputs: dict[str, Any], cache: Any = None) -> torch.Tensor:
        """Return the hidden states [B, L, H] of a batch, scaled for the head.

        A head that is not fused returns the logits [B, L, V]. `inputs` has `input_ids` [B, L] and what else the model
        takes. The batch continues what the `cache` of transformers holds, and is added to it.
        """
        kept: dict[str, Any] = {"use_cache": False} if cache is None else {"use_cache": True, "past_key_values": cache}
        with self.precision(), documents_of(inputs), self._folding(inputs["input_ids"].numel()):
            if self.weight is None:
                logits: torch.Tensor = self.model(**inputs, **kept).logits
                return logits
            hidden: torch.Tensor = self.backbone(**inputs, **kept).last_hidden_state
        return (hidden if self.scale == 1.0 else hidden * self.scale).to(self.compute or self.weight.dtype)

    def precision(self) -> AbstractContextManager[Any]:
        """Return a context in which calls of the model itself compute in the type of `rows`."""
        if self.compute is None:
            return nullcontext()
        return torch.autocast(self.model.device.type, self.compute)

    def _folding(self, tokens: int) -> AbstractContextManager[None]:
        """Return a context in which a pass over so many tokens computes adapters within their layers, where that is exact."""
        exact = self.compute is None and not torch.is_grad_enabled()
        return folded(self.model, tokens) if exact and hasattr(self.model, "peft_config") else nullcontext()

    def _layer(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the head's weight and bias (None without one) in the type of the rows. The cast has a gradient."""
        assert self.weight is not None
        if self.compute is None:
            return self.weight, self.bias
        return self.weight.to(self.compute), None if self.bias is None else self.bias.to(self.compute)

    def stats(self, rows_TX: torch.Tensor, target_T: torch.Tensor, statistics: Collection[str]) -> TokenStats:
        """Return the named `statistics` of each target token id under the distribution of its row, one value per row.

        `rows_TX` are T positions of `rows`.
        """
        if self.weight is None:
            return stats_of_logits(rows_TX, target_T, statistics=statistics)
        weight, bias = self._layer()
        return linear_token_stats(rows_TX, weight, target_T, bias, statistics=statistics, softcap=self.softcap)

    def divergence(
        self, rows_TX: torch.Tensor, other: LanguageHead, other_rows_TX: torch.Tensor, divergences: Collection[str]
    ) -> TokenDivergence:
        """Return the named divergences of this model's distribution from the other model's, one value per row.

        Row t of both models describes the same position. Both models have one vocabulary.
        """
        if self.weight is not None and other.weight is not None and self.softcap == other.softcap:
            (weight, bias), (other_weight, other_bias) = self._layer(), other._layer()
            return linear_token_divergence(
                rows_TX,
                weight,
                other_rows_TX,
                other_weight,
                bias,
                other_bias,
                divergences=divergences,
                softcap=self.softcap,
            )
        return divergence_of_logits(self.logits(rows_TX), other.logits(other_rows_TX), divergences=divergences)

    def logits(self, rows_TX: torch.Tensor) -> torch.Tensor:
        """Return the float32 logits [T, V] of T positions of `rows`. All are in memory, so pass few rows."""
        if self.weight is None:
            return rows_TX.float()
        weight, bias = self._layer()
        logits_TV = torch.nn.functional.linear(rows_TX.float(), weight.float(), None if bias is None else bias.float())
        return self.softcap * torch.tanh(logits_TV / self.softcap) if self.softcap else logits_TV


def find_head(model: Any, compute: torch.dtype | None = None) -> LanguageHead:
    """Return the LM head of a causal language model of transformers or PEFT.

    A head that does not reproduce the model's logits on a few tokens is not fused, with one warning. `compute` is the
    type of computation if it differs from that of the weights.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    whole = LanguageHead(model, None, None, compute=compute)
    layer = base.get_output_embeddings()
    if type(layer) is not torch.nn.Linear or not isinstance(getattr(base, "base_model", None), torch.nn.Module):
        log.warning("%s: the LM head is not a plain linear layer, so whole logits are computed", type(base).__name__)
        return whole
    config = base.config.get_text_config()
    softcap = getattr(config, "final_logit_softcapping", None)
    parts = LanguageHead(model, base.base_model, layer.weight, layer.bias, _scale(config), softcap or None, compute)
    error = _trial(parts, whole, config.vocab_size)
    if error > ROUNDING[compute or layer.weight.dtype]:
        log.warning(
            "%s: backbone and LM head do not reproduce the logits (off by %.2g of the largest), so whole logits are computed",
            type(base).__name__,
            error,
        )
        return whole
    return replace(parts, cached=cache_bytes(parts, ROUNDING[compute or layer.weight.dtype]))


def _scale(config: Any) -> float:
    """Return a model family's factor on hidden @ weight^T, before any softcap; 1 if it has none."""
    for name in ("logit_scale", "output_multiplier", "lm_head_multiplier"):
        if (factor := getattr(config, name, None)) is not None:
            return float(factor)
    scaling = getattr(config, "logits_scaling", None)
    if scaling is None:
        return 1.0
    return float(scaling) if config.model_type == "hyperclovax" else 1.0 / scaling


@torch.no_grad()
def _trial(parts: LanguageHead, whole: LanguageHead, vocabulary: int) -> float:
    """Return the largest difference between the logits of a head's parts and of the whole model on a few tokens.

    The difference is relative to the largest logit.
    """
    ids_BL = torch.arange(TRIAL_TOKENS, device=parts.model.device).remainder(vocabulary).unsqueeze(0)
    inputs = {"input_ids": ids_BL, "attention_mask": torch.ones_like(ids_BL)}
    with evaluating(parts.model):
        own_TV = whole.rows(inputs)[0].float()
        made_TV = parts.logits(parts.rows(inputs)[0])
    return float((made_TV - own_TV).abs().max() / own_TV.abs().max().clamp(min=1e-6))
