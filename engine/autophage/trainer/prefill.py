"""Prefixes that several sequences share: computed once into a cache of keys and values, which their suffixes read.

Prefixes are padded on the left, so that suffixes follow them without a gap. The distance of two tokens in the cache is
then their distance in the text, which a sliding window needs. `cache_bytes` tries a model: one whose rows differ from
those of whole sequences keeps computing whole sequences.

Shapes: G prefixes of up to P tokens, B suffixes of up to S tokens.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import DynamicCache

from autophage.trainer.attention import KNOWN_LAYERS
from autophage.trainer.modes import evaluating

if TYPE_CHECKING:
    from autophage.trainer.head import LanguageHead

TRIAL_PREFIXES = ((1, 2, 3, 4, 5), (6, 7, 8))
TRIAL_SUFFIXES = ((0, (9, 2, 4)), (1, (3, 1)), (0, (5,)), (1, (7, 7, 2, 6)))
"""A trial's suffixes, each with the number of its prefix."""

log = logging.getLogger("autophage")


@dataclass(frozen=True)
class Prefilled:
    """Keys and values of G prefixes in all layers, and the `mask` of their tokens, [G, P]."""

    cache: Any
    mask: torch.Tensor


def prefill(head: LanguageHead, prefixes: Sequence[Sequence[int]]) -> Prefilled:
    """Compute prefixes of token ids under the model of `head`, in one pass."""
    width, device = max(map(len, prefixes)), head.model.device
    ids_GP = torch.tensor([[0] * (width - len(one)) + list(one) for one in prefixes])
    mask_GP = torch.tensor([[0] * (width - len(one)) + [1] * len(one) for one in prefixes])
    inputs = {"input_ids": ids_GP, "attention_mask": mask_GP, "position_ids": _positions(mask_GP)}
    cache = DynamicCache()
    head.rows({name: tensor.to(device) for name, tensor in inputs.items()}, cache)
    return Prefilled(cache, mask_GP)


def rows_after(
    head: LanguageHead, prefilled: Prefilled, chosen: Sequence[int], suffixes: Sequence[Sequence[int]]
) -> torch.Tensor:
    """Return the rows [B, S, X] of suffixes of token ids. Suffix b follows the prefix `chosen[b]`."""
    width, device = max(map(len, suffixes)), head.model.device
    chosen_B = torch.tensor(chosen, dtype=torch.long)
    ids_BS = torch.tensor([[*one, *[0] * (width - len(one))] for one in suffixes])
    own_BS = torch.tensor([[1] * len(one) + [0] * (width - len(one)) for one in suffixes])
    mask_BL = torch.cat([prefilled.mask[chosen_B], own_BS], 1)
    inputs = {"input_ids": ids_BS, "attention_mask": mask_BL, "position_ids": _positions(mask_BL)[:, -width:]}
    cache = DynamicCache()
    for number, layer in enumerate(prefilled.cache.layers):
        places_B = chosen_B.to(layer.keys.device)
        cache.update(layer.keys.index_select(0, places_B), layer.values.index_select(0, places_B), number)
    return head.rows({name: tensor.to(device) for name, tensor in inputs.items()}, cache)


def _positions(mask: torch.Tensor) -> torch.Tensor:
    return (mask.cumsum(1) - 1).clamp(min=0)


@torch.no_grad()
def cache_bytes(head: LanguageHead, tolerance: float) -> int | None:
    """Return the bytes that a cache holds for one token; None if the model of `head` cannot start from a cache.

    `tolerance` is the largest accepted difference of rows, relative to the largest of them.
    """
    config = head.model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or KNOWN_LAYERS)
    if not head.fused or not kinds <= KNOWN_LAYERS or getattr(config, "attention_chunk_size", None) is not None:
        return None
    prefixes = [[token % config.vocab_size for token in one] for one in TRIAL_PREFIXES]
    suffixes = [(which, [token % config.vocab_size for token in one]) for which, one in TRIAL_SUFFIXES]
    with evaluating(head.model):
        try:
            prefilled = prefill(head, prefixes)
            made = rows_after(head, prefilled, [which for which, _ in suffixes], [one for _, one in suffixes])
            bytes_held: int = sum(
                tensor[0, :, 0].numel() * tensor.element_size()
                for layer in prefilled.cache.layers
                for tensor in (layer.keys, layer.values)
            )
        except (TypeError, ValueError, RuntimeError, AttributeError, IndexError, KeyError) as error:
            log.debug("%s: no cache of prefixes: %s", type(head.model).__name__, error)
            return None
        for row_SX, (which, suffix) in zip(made, suffixes, strict=True):
            ids_1L = torch.tensor([prefixes[which] + suffix], device=head.model.device)
            whole_SX = head.rows({"input_ids": ids_1L})[0, -len(suffix) :]
            apart = (row_SX[: len(suffix)] - whole_SX).abs().max() / whole_SX.abs().max().clamp(min=1e-6)
            if not float(apart) <= tolerance:
                log.debug("%s: rows after a cached prefix are off by %.2g", type(head.model).__name__, float(apart))
                return None
    return bytes_held
