"""Inputs and rows of a causal model: positions that are known on the host, and the padding mask.

Shapes: B sequences of L tokens, T chosen positions, X the width of a head's rows.
"""

from __future__ import annotations

from typing import Any

import torch


def at(rows_BLX: torch.Tensor, places_T: torch.Tensor) -> torch.Tensor:
    """Return the rows at flat indices in [B, L], as [T, X]. A mask would make the host wait for the number of rows."""
    return rows_BLX.flatten(0, 1).index_select(0, places_T)


def without_mask(inputs: dict[str, Any]) -> dict[str, Any]:
    """Return the inputs of a model without their padding mask on a GPU. Rows must be padded on the right.

    No token of a causal model sees what follows it, so the mask changes only the rows of padding. With a mask, the
    attention of torch cannot use its fastest kernels on a GPU. On a CPU it makes no difference, and the mask stays.
    """
    if inputs["input_ids"].device.type != "cuda":
        return inputs
    return {name: value for name, value in inputs.items() if name != "attention_mask"}
