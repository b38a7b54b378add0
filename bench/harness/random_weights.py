"""Random weights of a Llama, written as fast as the disk takes them.

A file of 8B parameters has 16 GB. Drawing 8e9 numbers on a CPU takes half a minute, and a model on the device has to be copied
back. All tensors are therefore read from one pool of normal numbers, each from a place of its own. The pool's length is odd, so
that it fits no row a whole number of times: no two rows of a matrix are equal.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from harness.shapes import LlamaShape

if TYPE_CHECKING:
    import torch

POOL = 2**26 - 5
"""Numbers of the pool."""
STRIDE = 7_919_993
"""Distance in the pool between the beginnings of two tensors."""
STANDARD_DEVIATION = 0.02
LOGIT_SCALE = 4.0
"""Standard deviation of the logits. Their maximum of 128,256 is near 18, as a trained model has it, and not near flat."""
ALIGNMENT = 8


def write_weights(shape: LlamaShape, dtype: torch.dtype, path: Path) -> None:
    """Write one safetensors file in the names of transformers."""
    import torch

    tensors = dict(_tensors(shape))
    header, place = {"__metadata__": {"format": "pt"}}, 0
    name = {torch.bfloat16: "BF16", torch.float32: "F32"}[dtype]
    for key, size in tensors.items():
        ends = place + math.prod(size) * dtype.itemsize
        header[key] = {"dtype": name, "shape": list(size), "data_offsets": [place, ends]}  # type: ignore[dict-item]
        place = ends
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    generator = torch.Generator().manual_seed(0)
    smallest = min(POOL, max(math.prod(size) for size in tensors.values()) | 1)
    pool = _bytes(STANDARD_DEVIATION * torch.randn(smallest, generator=generator), dtype)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for number, (key, size) in enumerate(tensors.items()):
            if len(size) == 1:
                scale = (
                    LOGIT_SCALE / (STANDARD_DEVIATION * math.sqrt(shape.hidden)) if key == "model.norm.weight" else 1
                )
                file.write(_bytes(torch.full(size, float(scale)), dtype))
            else:
                _from_pool(file, pool, number * STRIDE * dtype.itemsize, math.prod(size) * dtype.itemsize)


def _tensors(shape: LlamaShape) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "model.embed_tokens.weight", (shape.vocabulary, shape.hidden)
    for layer in range(shape.layers):
        at = f"model.layers.{layer}"
        for name, (block, inputs, outputs) in shape.linears.items():
            yield f"{at}.{block}.{name}.weight", (outputs, inputs)
        for name in ("input_layernorm", "post_attention_layernorm"):
            yield f"{at}.{name}.weight", (shape.hidden,)
    yield "model.norm.weight", (shape.hidden,)
    if not shape.tied:
        yield "lm_head.weight", (shape.vocabulary, shape.hidden)


def _bytes(values: torch.Tensor, dtype: torch.dtype) -> memoryview:
    import torch

    return memoryview(values.to(dtype).contiguous().view(torch.uint8).numpy().data).cast("B")


def _from_pool(file: BinaryIO, pool: memoryview, start: int, size: int) -> None:
    """Write `size` bytes of the pool from `start` on. The pool begins anew at its end."""
    place = start % len(pool)
    while size:
        part = pool[place : place + size]
        file.write(part)
        size -= len(part)
        place = 0
