"""The LM head fused with its statistics, tile by tile. The logits `[T, V]` are never in memory as a whole.

A tile of `hidden @ weight^T + bias` is a product in float32 for every input type. Rounded to bfloat16, it would cost 4e-2 nats
in a log-prob. Each tile leaves one part of the partial result, and parts merge by the rule of `partial.py`. A backward pass
computes tiles again and adds gradients up in float32.

A tile on a GPU is as large as the second-level cache allows. A row's target then usually lies in another tile. Its logit is
computed beforehand by a product of the same shape, so that equal columns compare equal. The target is left out by its index.
A tile on a CPU is some whole rows and holds the target's own logit.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch

from autophage_kernels.reference.chunks import work_type

GPU_TILE = (2048, 4096)
"""Rows and columns of a tile of logits on a GPU.

32 MiB of float32 stay in the cache of an H100 or H200 between the product and the statistics.
"""
CPU_TILE = (256, 8192)
CPU_ROW_ELEMENTS = 1 << 23
"""Number of logits of a tile of whole rows on a CPU, 32 MiB of float32."""


class LinearHead(NamedTuple):
    """An LM head and its input for T rows: hidden `[T, H]`, weight `[V, H]`, and bias `[V]` or None.

    All have one type and device. V is the vocabulary, H the hidden size.
    """

    hidden: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor | None

    @property
    def rows(self) -> int:
        """Number of hidden states."""
        return self.hidden.shape[0]

    @property
    def vocabulary(self) -> int:
        """Number of tokens that the head scores."""
        return self.weight.shape[0]

    def tile(self, rows: slice, columns: slice, buffer: torch.Tensor) -> torch.Tensor:
        """Compute the logits of some rows and vocabulary columns, and return them as `[rows, columns]`.

        They are a view of the first elements of `buffer`. Their type is float32, or float64 for float64 inputs.
        """
        hidden_RH, weight_CH = self.hidden[rows], self.weight[columns]
        shape = (hidden_RH.shape[0], weight_CH.shape[0])
        tile_RC = buffer[: shape[0] * shape[1]].view(shape)
        product(hidden_RH, weight_CH.t(), out=tile_RC)
        return tile_RC if self.bias is None else tile_RC.add_(self.bias[columns])

    def buffer(self, shape: tuple[int, int]) -> torch.Tensor:
        """Return an uninitialised flat tensor for a tile of `shape` or less, in the type of its logits."""
        elements = min(shape[0], self.rows) * min(shape[1], self.vocabulary)
        return self.hidden.new_empty(elements, dtype=work_type(self.hidden))


def whole_rows(head: LinearHead) -> bool:
    """Return True if a forward tile spans the whole vocabulary, which it does on a CPU."""
    return head.hidden.device.type != "cuda"


def forward_tile(head: LinearHead) -> tuple[int, int]:
    """Return the maximum rows and columns of a tile of logits in a forward pass."""
    if whole_rows(head):
        return max(1, CPU_ROW_ELEMENTS // head.vocabulary), head.vocabulary
    return GPU_TILE[0], even_width(head.vocabulary, GPU_TILE[1])


def backward_tile(head: LinearHead) -> tuple[int, int]:
    """Return the maximum rows and columns of a tile of logits in a backward pass."""
    rows, columns = CPU_TILE if whole_rows(head) else GPU_TILE
    return rows, even_width(head.vocabulary, columns)


def even_width(vocabulary: int, widest: int) -> int:
    """Return the number of columns of a tile, at most about `widest`, such that all tiles have about one width.

    It is a multiple of 16 if there are several tiles.
    """
    tiles = -(-vocabulary // widest)
    return vocabulary if tiles == 1 else -(-vocabulary // (16 * tiles)) * 16


def spans(total: int, step: int) -> Iterator[slice]:
    """Yield slices of at most `step` places that cover 0 to `total` in order. A total of 0 has none."""
    for start in range(0, total, step):
        yield slice(start, min(start + step, total))


def product(a: torch.Tensor, b: torch.Tensor, *, out: torch.Tensor, add: bool = False) -> None:
    """Write the matrix product `a @ b` to `out`, or add it to `out`. 16-bit inputs are summed in the type of `out`."""
    if a.dtype == b.dtype == out.dtype:
        torch.addmm(out, a, b, out=out) if add else torch.mm(a, b, out=out)
    elif a.device.type == "cuda":
        if not add:
            torch.mm(a, b, out_dtype=out.dtype, out=out)
        elif _adds_to_wider(a.dtype, a.device):
            torch.addmm(out, a, b, out_dtype=out.dtype, out=out)
        else:
            out += torch.mm(a, b, out_dtype=out.dtype)
    else:
        wide = a.to(out.dtype)
        for columns in spans(b.shape[1], CPU_TILE[1]):  # in turns: no copy of a whole weight in the wider type
            part = wide @ b[:, columns].to(out.dtype)
            out[:, columns] = part.add_(out[:, columns]) if add else part


@functools.cache
def _adds_to_wider(dtype: torch.dtype, device: torch.device) -> bool:
    """Return True if torch can add a product of 16-bit matrices to a float32 matrix in one operation.

    Earlier versions refuse.
    """
    one, sum_ = torch.ones(16, 16, dtype=dtype, device=device), torch.zeros(16, 16, device=device)
    try:
        torch.addmm(sum_, one, one, out_dtype=torch.float32, out=sum_)
    except RuntimeError:
        return False
    return True


def target_logits(
    head: LinearHead, target_T: torch.Tensor, rows: slice, columns: int, buffer: torch.Tensor
) -> torch.Tensor:
    """Return the logit of each row's target token, `[rows]`.

    It is the diagonal of a product as wide as a tile of `columns` columns, which are the targets. Targets outside the
    vocabulary are clamped into it. `buffer` is overwritten.
    """
    target_R = target_T[rows].clamp(0, head.vocabulary - 1)
    count = len(target_R)
    target_C = target_R[torch.arange(max(columns, count), device=target_R.device) % count]
    picked = LinearHead(head.hidden, head.weight[target_C], None if head.bias is None else head.bias[target_C])
    if buffer.numel() < count * len(target_C):  # a vocabulary with fewer columns than the tile has rows
        buffer = buffer.new_empty(count * len(target_C))
    return picked.tile(rows, slice(0, len(target_C)), buffer).diagonal().clone()


def forward_tiles(
    head: LinearHead,
    shape: tuple[int, int],
    visit: Callable[[slice, slice, int, torch.Tensor], None],
    begin: Callable[[slice, torch.Tensor], None] | None = None,
) -> None:
    """Compute all logits of an LM head in tiles of `shape`, and call `visit(rows, columns, number, logits)` for each.

    `number` counts the spans of columns from 0. Each call overwrites the logits of the call before. `begin(rows,
    buffer)` precedes the first tile of each span of rows. It may use the buffer of the tiles.
    """
    buffer = head.buffer(shape)
    for rows in spans(head.rows, shape[0]):
        if begin is not None:
            begin(rows, buffer)
        for number, columns in enumerate(spans(head.vocabulary, shape[1])):
            visit(rows, columns, number, head.tile(rows, columns, buffer))


def gradient_type(head: LinearHead) -> torch.dtype:
    """Return the type in which the gradient to a tile of logits is computed.

    On a GPU it is the type of the hidden states, as 16-bit numbers are multiplied by 16-bit numbers. On a CPU it is
    float32 or float64, as nothing is gained by rounding.
    """
    return head.hidden.dtype if head.hidden.device.type == "cuda" else work_type(head.hidden)


def backward_tiles(
    head: LinearHead,
    gradient: Callable[[slice, slice, torch.Tensor], torch.Tensor],
    needs_hidden: bool,
    needs_weight: bool,
    needs_bias: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the gradients of a loss to hidden, weight and bias, in their types and shapes. Unneeded ones are empty.

    Logits are computed tile by tile. `gradient(rows, columns, logits)` returns the gradient to the logits of a tile,
    in `gradient_type(head)`.
    """
    work, shape = work_type(head.hidden), backward_tile(head)
    hidden_TH = torch.zeros_like(head.hidden, dtype=work) if needs_hidden else head.hidden.new_empty(0)
    weight_VH = torch.empty_like(head.weight) if needs_weight else head.weight.new_empty(0)
    bias_V = head.weight.new_zeros(head.vocabulary, dtype=work) if needs_bias else head.weight.new_empty(0)
    buffer = head.buffer(shape)
    for columns in spans(head.vocabulary, shape[1]):
        weight_CH = head.weight[columns]
        sum_CH = torch.zeros_like(weight_CH, dtype=work) if needs_weight else None
        for rows in spans(head.rows, shape[0]):
            gradient_RC = gradient(rows, columns, head.tile(rows, columns, buffer))
            if needs_hidden:
                product(gradient_RC, weight_CH, out=hidden_TH[rows], add=True)
            if sum_CH is not None:
                product(gradient_RC.t(), head.hidden[rows], out=sum_CH, add=True)
            if needs_bias:
                bias_V[columns] += gradient_RC.sum(0, dtype=work)
        if sum_CH is not None:
            weight_VH[columns] = sum_CH
    return hidden_TH.to(head.hidden.dtype), weight_VH, bias_V.to(head.weight.dtype)
