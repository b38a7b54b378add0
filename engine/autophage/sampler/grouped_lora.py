"""LoRA on vLLM's CPU back end, with rows grouped by adapter instead of a weight copied for each row.

vLLM's `PunicaWrapperCPU` gathers `weights[slot_of_row]`, an [rows, out, rank] copy, and multiplies it row by row. It does so
for every slice of every linear layer of every step. Here the rows of a step are grouped by adapter once. Groups of about the
same size are padded to the longest and stacked in a bucket. A bucket is one batched product with A and one with B.

    y[rows] += scale * (x[rows] A[slots]^T) B[slots]^T       x[rows] is [slots, height, in], A[slots] is [slots, rank, in]

At the size of a decoding step, calls cost more than arithmetic. One batched product is therefore faster than one for
each adapter. Threads divide it by adapter, and none waits for another inside a product. `bench/sampler.py` measures it
on two cores with 256 sequences and four adapters of rank 32 in turns. At hidden size 192 it has 3 to 5 times vLLM's own
throughput and 0.8 of that of merged weights. At hidden size 512 the factors are 7 and 0.86.

Rows without an adapter (slot -1) keep their values. vLLM's gather reads -1 as the last slot and adds that adapter.

The module needs torch and vLLM only, so that vLLM could adopt it unchanged. `cpu_lora` installs it. Shapes: T rows of a
step, S slots of a bucket, H rows of each slot in the stack (the height).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

MOST_PADDING = 2
"""A group of rows joins a bucket whose largest group has at most this many times its rows.

Beyond, padding costs more than a product of its own.
"""
SHORT = 16
"""A group of any size joins a bucket whose groups have at most this many rows.

So small a product takes no longer than its call.
"""


@dataclass(frozen=True)
class Bucket:
    """S adapters with similar numbers of rows, in ascending order of their slots.

    Each slot has H rows in the stack, padding included.
    """

    slots: slice | torch.Tensor
    """The S slots of the adapters. Consecutive slots are a slice, so that their weights are a view."""
    count: int
    """Number of adapters, S."""
    start: int
    end: int
    """Places `start` to `end` of the stack are the bucket's, S * H in all."""

    def multiply(self, own: torch.Tensor, stacked: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        """Multiply the rows of each slot with the slot's weight, as one batched product.

        `own` is [S * H, in] and `stacked` is [slots, 1, out, in]. The result is [S * H, out], written into `out` if
        given.
        """
        weights = self._weights(stacked)
        shaped = own.to(weights.dtype).view(self.count, -1, own.shape[1])
        if out is None:
            return torch.bmm(shaped, weights.transpose(1, 2)).flatten(0, 1)
        torch.bmm(shaped, weights.transpose(1, 2), out=out.view(self.count, -1, out.shape[1]))
        return out

    def accumulate(self, own: torch.Tensor, stacked: torch.Tensor, sums: torch.Tensor) -> None:
        """Add to `sums` [S * H, out] in place what `multiply` returns, without a tensor for it."""
        weights = self._weights(stacked)
        sums_SHO = sums.view(self.count, -1, sums.shape[1])
        torch.baddbmm(sums_SHO, own.view(self.count, -1, own.shape[1]), weights.transpose(1, 2), out=sums_SHO)

    def _weights(self, stacked: torch.Tensor) -> torch.Tensor:
        """Return the weights of the slots, [S, out, in], of `stacked` [slots, 1, out, in]."""
        weights = stacked.squeeze(1)
        return weights[self.slots] if isinstance(self.slots, slice) else weights.index_select(0, self.slots)


@dataclass(frozen=True)
class Groups:
    """The T rows of a step by adapter. The stack holds the padded groups of one bucket after the other."""

    length: int
    """Number of rows of the step, T."""
    buckets: list[Bucket]
    """Empty for a step without adapters."""
    gather: torch.Tensor | None
    """Index of the row at each place of the stack. None where the stack equals the rows."""
    places: torch.Tensor | None
    """[T], the place of each row in the stack. None where the stack equals the rows.

    Rows without an adapter are at one last place, of zeros.
    """
    idle: bool
    """True if some row has no adapter."""

    def add(
        self, y: Sequence[torch.Tensor], x: torch.Tensor, factors: Sequence[Sequence[torch.Tensor]], scale: float = 1
    ) -> None:
        """Add each row's LoRA product, times `scale`, to the slices of y [T, out] in place.

        Slice i of y gets x [T, in] times the factors i: (A, B) or (B,). Rows without an adapter keep their values.
        """
        if not self.buckets:
            return
        if len(x) != self.length:
            raise ValueError(f"{len(x)} rows, but the step's LoRA mapping has {self.length}")
        stack = x if self.gather is None else x.index_select(0, self.gather)
        in_place = self.places is None and len(self.buckets) == 1 and not self.idle
        for columns, (*inner, last) in zip(y, factors, strict=True):
            narrow = [self._narrow(stack, bucket, inner, scale) for bucket in self.buckets]
            if in_place and columns.dtype == last.dtype == narrow[0].dtype:
                self.buckets[0].accumulate(narrow[0], last, columns)
                continue
            delta = self._products(narrow, last, len(stack))
            columns.add_(delta if self.places is None else delta.index_select(0, self.places))

    def _narrow(
        self, stack: torch.Tensor, bucket: Bucket, factors: Sequence[torch.Tensor], scale: float
    ) -> torch.Tensor:
        """Return a bucket's rows of the stack times all factors but the last, and times `scale`."""
        own = stack[bucket.start : bucket.end]
        for factor in factors:
            own = bucket.multiply(own, factor)
        return own if scale == 1 else own * scale  # vLLM has multiplied the scale into B and passes 1

    def _products(self, narrow: Sequence[torch.Tensor], last: torch.Tensor, length: int) -> torch.Tensor:
        """Return the rows `narrow` of each bucket times the last factor, stacked to `length` rows, and one of zeros if idle."""
        delta = last.new_empty(length + self.idle, last.shape[-2])
        for bucket, own in zip(self.buckets, narrow, strict=True):
            bucket.multiply(own, last, delta[bucket.start : bucket.end])
        if self.idle:
            delta[-1] = 0
        return delta


def groups_of(slot_of_row: torch.Tensor) -> Groups:
    """Group the rows of a step by adapter. `slot_of_row` [T] has each row's adapter slot, -1 without an adapter."""
    length = len(slot_of_row)
    counts = torch.bincount(slot_of_row + 1, minlength=1).tolist()
    of_slot = slot_of_row.argsort(stable=True).split(counts)[1:]
    gathered, buckets, start = [], [], 0
    places = torch.empty_like(slot_of_row)
    for slots in _together([len(rows) for rows in of_slot]):
        height = max(len(of_slot[slot]) for slot in slots)
        for index, rows in enumerate(of_slot[slot] for slot in slots):
            # Padding is a row of the same group, so no adapter's product sees another adapter's rows.
            gathered += [rows, rows[-1:].expand(height - len(rows))]
            places[rows] = torch.arange(len(rows)) + start + index * height
        consecutive = slots[-1] - slots[0] + 1 == len(slots)
        own = slice(slots[0], slots[-1] + 1) if consecutive else torch.tensor(slots)
        buckets.append(Bucket(own, len(slots), start, start + len(slots) * height))
        start = buckets[-1].end
    idle = counts[0] > 0
    places[slot_of_row < 0] = start
    in_order = torch.arange(length)
    gather = torch.cat(gathered) if gathered else in_order
    if torch.equal(gather, in_order):
        return Groups(length, buckets, None, None, idle)
    return Groups(length, buckets, gather, places, idle)


def _together(sizes: Sequence[int]) -> list[list[int]]:
    """Divide the slots that have rows into buckets of slots with similar numbers of rows.

    `sizes` has the number of rows of each slot.
    """
    found: list[list[int]] = []
    for slot in sorted((slot for slot, size in enumerate(sizes) if size), key=lambda slot: -sizes[slot]):
        if found and sizes[found[-1][0]] <= max(SHORT, MOST_PADDING * sizes[slot]):
            found[-1].append(slot)
        else:
            found.append([slot])
    return [sorted(slots) for slots in found]


class GroupedPunicaWrapper(PunicaWrapperCPU):
    """`PunicaWrapperCPU` that multiplies linear layers, logits and embeddings by groups."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._token_groups = self._sampler_groups = Groups(0, [], None, None, False)

    def update_metadata(
        self, mapping: Any, lora_index_to_id: list[int | None], max_loras: int, vocab_size: int, **kwargs: Any
    ) -> None:
        super().update_metadata(mapping, lora_index_to_id, max_loras, vocab_size, **kwargs)
        self._token_groups = groups_of(self.token_lora_indices)
        same = torch.equal(self.token_lora_indices, self.sampler_indices)
        self._sampler_groups = self._token_groups if same else groups_of(self.sampler_indices)

    def add_lora_linear(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: Sequence[torch.Tensor],
        lora_b_stacked: Sequence[torch.Tensor],
        scale: float,
        output_slices: Sequence[int],
        *,
        buffer: Any = None,
        **kwargs: Any,
    ) -> None:
        """Compute y[:, slice] += scale * x A^T B^T. A is [slots, 1, rank, in], B is [slots, 1, out, rank]."""
        columns = y.view(-1, y.shape[-1]).split(list(output_slices), 1)
        factors = list(zip(lora_a_stacked, lora_b_stacked, strict=True))
        self._token_groups.add(columns, x.view(-1, x.shape[-1]), factors, scale)

    def add_lora_logits(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: torch.Tensor,
        lora_b_stacked: torch.Tensor,
        scale: float,
        *,
        buffer: Any = None,
        **kwargs: Any,
    ) -> None:
        """Compute y += scale * x A^T B^T over the columns that both y and B have. Either may be padded further."""
        width = min(y.shape[-1], lora_b_stacked.shape[-2])
        columns = y.view(-1, y.shape[-1])[:, :width]
        factors = (lora_a_stacked, lora_b_stacked[..., :width, :])
        self._sampler_groups.add([columns], x.view(-1, x.shape[-1]), [factors], scale)

    def add_lora_embedding(
        self, y: torch.Tensor, x: torch.Tensor, lora_b_stacked: torch.Tensor, add_inputs: bool = True, **kwargs: Any
    ) -> None:
        """Compute y += x B^T. x holds the rows of A that the tokens look up."""
        if not add_inputs:
            super().add_lora_embedding(y, x, lora_b_stacked, add_inputs, **kwargs)
            return
        self._token_groups.add([y], x, [(lora_b_stacked,)])
