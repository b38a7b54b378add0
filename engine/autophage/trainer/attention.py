"""The attention of a loaded model: one that computes what its configuration says, and separates documents in a row.

Two things differ from the choice of transformers.

- A model with a softcap on its attention logits uses `eager`. The default, `sdpa`, leaves the softcap out.
- On a GPU a batch of documents may be one row without padding. `VARIABLE` computes it with the variable-length kernel
  that torch carries, or flash-attn does if it is installed. `sdpa` would need a mask of all pairs of tokens.

A model keeps a variable-length kernel if a trial on it shows that no document reads another one. `LanguageHead` tells
`VARIABLE` where documents begin, so that models need not pass it on.

Shapes: T tokens of all documents, H heads, K key-value heads, D the size of a head.
"""

from __future__ import annotations

import inspect
import itertools
import logging
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from functools import cache
from typing import Any, NamedTuple

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from transformers.utils import is_flash_attn_2_available

VARIABLE = "autophage_variable_length"
FLASH = "flash_attention_2"
HALF = (torch.bfloat16, torch.float16)
"""Types that variable-length kernels compute in."""
KNOWN_LAYERS = frozenset({"full_attention", "sliding_attention"})
"""Kinds of layers that a variable-length kernel computes."""
TRIAL_LENGTHS = (7, 11)
"""Tokens of the two documents of a trial."""
SAME_ATTENTION = 0.05
"""Largest median distance between a token's hidden states under two kernels, relative to their norm.

Rounding to 16 bits gives below a hundredth. Another scale or a missing mask gives tenths.
"""

log = logging.getLogger("autophage")


class Boundaries(NamedTuple):
    """Documents in one row: their first tokens and the end, [N + 1] in int32, and the longest of them in tokens."""

    starts: torch.Tensor
    longest: int


_current: ContextVar[Boundaries | None] = ContextVar("documents", default=None)


@contextmanager
def documents_of(inputs: Mapping[str, Any]) -> Iterator[None]:
    """Tell the attention `VARIABLE` about the documents of a flattened batch, as TRL's collator marks them."""
    flat = "cu_seq_lens_q" in inputs
    token = _current.set(Boundaries(inputs["cu_seq_lens_q"], inputs["max_length_q"]) if flat else None)
    try:
        yield
    finally:
        _current.reset(token)


def has_variable_length(model: Any) -> bool:
    """Return True if a model's attention takes documents in one row without a mask of all pairs of tokens."""
    return attention_of(model) in (VARIABLE, FLASH)


def attention_of(model: Any) -> str:
    """Return the name of a model's attention in transformers."""
    name: str = model.config.get_text_config()._attn_implementation
    return name


def settle(model: Any, compute: torch.dtype) -> None:
    """Give a loaded model the attention that computes it right, and fast on its device.

    Args:
        compute: Type of computation. Weights may be wider.
    """
    before = attention_of(model)
    chosen = choose(model.config.get_text_config(), before, model.device, compute)
    if chosen == before:
        return
    if not type(model)._can_set_attn_implementation():
        log.warning("%s: its attention is fixed to %s, not %s", type(model).__name__, before, chosen)
        return
    if chosen not in (VARIABLE, FLASH):
        model.set_attn_implementation(chosen)
        return
    if reason := _unfit(model, chosen, before, compute):
        log.warning("%s: documents are padded, because %s %s", type(model).__name__, chosen, reason)


def choose(config: Any, before: str, device: torch.device, compute: torch.dtype) -> str:
    """Return the attention for a model's text configuration, of which transformers chose `before`."""
    if getattr(config, "attn_logit_softcapping", None) is not None:
        return "eager"
    kinds = set(getattr(config, "layer_types", None) or KNOWN_LAYERS)
    plain = before == "sdpa" and kinds <= KNOWN_LAYERS and getattr(config, "attention_chunk_size", None) is None
    if device.type != "cuda" or compute not in HALF or not plain or not getattr(config, "is_causal", True):
        return before
    if is_flash_attn_2_available():
        return FLASH
    return VARIABLE if kernel() is not None else before


@cache
def kernel() -> Any:
    """Return torch's variable-length attention, or None if this torch has none with a window and a scale."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return varlen_attn if {"window_size", "scale"} <= inspect.signature(varlen_attn).parameters.keys() else None


def _unfit(model: Any, chosen: str, before: str, compute: torch.dtype) -> str:
    """Try the attention `chosen` on a model and keep it, or restore `before` and return the reason."""
    try:
        wanted_TH = _hidden(model, compute, 0, flat=False)
        model.set_attn_implementation(chosen)
        one_TH, other_TH = (_hidden(model, compute, shift, flat=True) for shift in (0, 1))
    except (RuntimeError, ValueError, ImportError, TypeError, AttributeError) as error:
        model.set_attn_implementation(before)
        return f"fails: {error}"
    second = slice(TRIAL_LENGTHS[0], None)
    apart_T = (one_TH - wanted_TH).norm(dim=1) / wanted_TH.norm(dim=1)
    reason = ""
    if not torch.equal(one_TH[second], other_TH[second]):
        reason = "lets a document read another one"
    elif not float(apart_T.median()) < SAME_ATTENTION:
        reason = f"differs from {before} by {float(apart_T.median()):.2g} of the hidden states"
    if reason:
        model.set_attn_implementation(before)
    return reason


@torch.no_grad()
def _hidden(model: Any, compute: torch.dtype, shift: int, *, flat: bool) -> torch.Tensor:
    """Return the last hidden states of two documents, [T, hidden]: in one row, or each alone.

    `shift` changes the first document alone.
    """
    first, second = TRIAL_LENGTHS
    vocabulary = model.config.get_text_config().vocab_size
    ids = [(torch.arange(first) * 3 + 5 * shift + 1) % vocabulary, (torch.arange(second) * 5 + 2) % vocabulary]
    positions = [torch.arange(length) for length in TRIAL_LENGTHS]
    starts = torch.tensor([0, first, first + second], dtype=torch.int32, device=model.device)
    training = model.training
    model.eval()
    rows = []
    for ids_T, positions_T in [(torch.cat(ids), torch.cat(positions))] if flat else zip(ids, positions, strict=True):
        inputs: dict[str, Any] = {"input_ids": ids_T[None].to(model.device)}
        if flat:
            inputs |= {"position_ids": positions_T[None].to(model.device)}
            inputs |= dict.fromkeys(("cu_seq_lens_q", "cu_seq_lens_k"), starts)
            inputs |= dict.fromkeys(("max_length_q", "max_length_k"), second)
        with _computing(model, compute), documents_of(inputs):
            rows.append(model.base_model(**inputs, use_cache=False).last_hidden_state[0].float())
    model.train(training)
    return torch.cat(rows)


def _computing(model: Any, compute: torch.dtype) -> AbstractContextManager[Any]:
    return nullcontext() if model.dtype == compute else torch.autocast(model.device.type, compute)


@torch.compiler.disable  # type: ignore[untyped-decorator]
def attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attend within each document of the current row; as `sdpa` does where no documents are known.

    Query is [1, H, T, D], key and value are [1, K, T, D], as transformers gives them. The result is [1, T, H, D].
    """
    documents = _current.get()
    if documents is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    if dropout or kwargs.get("position_bias") is not None:
        raise ValueError("attention over documents in one row has no dropout and no position bias")
    kind = _computed_in(query)
    groups = query.shape[1] // key.shape[1]
    query_THD, key_THD, value_THD = (
        (one if one is query else one.repeat_interleave(groups, dim=1))[0].transpose(0, 1).to(kind)
        for one in (query, key, value)
    )
    window = -1 if sliding_window is None else sliding_window - 1
    if query.device.type == "cuda":
        starts, longest = documents
        mixed_THD = kernel()(
            query_THD.contiguous(), key_THD.contiguous(), value_THD.contiguous(), starts, starts, longest, longest,
            scale=scaling, window_size=(window, 0),
        )  # fmt: skip
    else:
        mixed_THD = by_document(query_THD, key_THD, value_THD, documents.starts, scaling, window)
    return mixed_THD[None], None


def by_document(
    query_THD: torch.Tensor,
    key_THD: torch.Tensor,
    value_THD: torch.Tensor,
    starts: torch.Tensor,
    scale: float | None,
    window: int,
) -> torch.Tensor:
    """Attend in one document after the other. A token sees itself and `window` tokens before it; all if -1.

    This is the reference for the kernel, and serves on a CPU.
    """
    rows = []
    for low, high in itertools.pairwise(starts.tolist()):
        places = torch.arange(high - low, device=query_THD.device)
        ago_LL = places[:, None] - places[None, :]
        seen_LL = (ago_LL >= 0) if window < 0 else (ago_LL >= 0) & (ago_LL <= window)
        query, key, value = (one[low:high].transpose(0, 1)[None] for one in (query_THD, key_THD, value_THD))
        mixed = torch.nn.functional.scaled_dot_product_attention(query, key, value, seen_LL[None, None], scale=scale)
        rows.append(mixed[0].transpose(0, 1))
    return torch.cat(rows)


def _computed_in(query: torch.Tensor) -> torch.dtype:
    """Return the type of attention. Autocast leaves rotated queries in float32."""
    kind = query.device.type
    if query.dtype is torch.float32 and torch.is_autocast_enabled(kind):
        return torch.get_autocast_dtype(kind)
    return query.dtype


def mask(*args: Any, **kwargs: Any) -> torch.Tensor | None:
    """Return the mask of `sdpa`; None for documents in one row, which need none."""
    return None if _current.get() is not None else sdpa_mask(*args, **kwargs)


AttentionInterface.register(VARIABLE, attention)
AttentionMaskInterface.register(VARIABLE, mask)
