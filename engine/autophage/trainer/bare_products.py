"""The time of a model's matrix products alone, on this device: the bound that a step of sampling or training is compared with.

Weights are random numbers of the model's shapes and type. There are as many different ones as the model has, up to a limit
of memory, so that they come from where the model's come from: not from a cache that holds a single layer. A limit of FLOPs
keeps a pass short. Times of the products that were left out are those of their kind. On a GPU a pass is a CUDA graph, as
its launches are not part of the bound.

Shapes: R rows of tokens, I inputs, O outputs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import torch

from autophage.trainer.products import Product

Direction = Literal["forward", "input", "weight"]
"""Forward, gradient with respect to the inputs, gradient with respect to the weights."""
MOST_BYTES = 512 << 20
"""Largest memory for weights. It is several times the largest caches."""
MOST_FLOPS = 2e11
"""FLOPs of a pass on a CPU: about a second on two cores."""
GRAPH_WARMUP = 3
PACKED_ROWS = 512
"""Most rows for which a packed weight is faster. The layout of a weight decides while reading it does."""
POOL = (1 << 16) + 1
"""Random numbers that all weights repeat. The length is odd, so that no two rows of a matrix are equal."""


class Elapsed(NamedTuple):
    """Seconds on the clock, and seconds of processor time over all threads. The latter is 0 for a GPU."""

    seconds: float
    processor: float

    def __add__(self, other: object) -> Elapsed:
        if not isinstance(other, Elapsed):
            return NotImplemented
        return Elapsed(self.seconds + other.seconds, self.processor + other.processor)

    def times(self, factor: float) -> Elapsed:
        return Elapsed(factor * self.seconds, factor * self.processor)


def linear(rows_RI: torch.Tensor, weight_OI: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.linear(rows_RI, weight_OI)


def onednn(rows_RI: torch.Tensor, weight_OI: torch.Tensor) -> torch.Tensor:
    """Multiply by oneDNN's own product, which torch prefers to its BLAS in compiled code only."""
    product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(rows_RI, weight_OI, None, "none", [], "")
    return product


def libraries(device: torch.device) -> dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]]:
    """Return the products that this torch offers on a device, by name."""
    found: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {"linear": linear}
    if device.type == "cpu" and torch.backends.mkldnn.is_available():
        trial = torch.ones(2, 2)
        try:
            onednn(trial, torch.ops.mkldnn._reorder_linear_weight(trial, 2))
        except (RuntimeError, AttributeError, NotImplementedError):  # another torch, without the operation
            return found
        found["onednn"] = onednn
    return found


class BareProducts:
    """Random weights in the shapes of a model's products, and the time of passes over them."""

    def __init__(
        self,
        products: Sequence[Product],
        dtype: torch.dtype,
        device: torch.device,
        *,
        most_bytes: int = MOST_BYTES,
        most_flops: float = MOST_FLOPS,
    ) -> None:
        self._products, self._dtype, self._device, self._most_flops = products, dtype, device, most_flops
        self._libraries = libraries(device)
        bytes_of_all = sum(one.inputs * one.outputs * one.count * one.experts for one in products) * dtype.itemsize
        share = min(1.0, most_bytes / max(1, bytes_of_all))
        # A small pool is drawn and repeated: numbers are slow to draw, and a product takes as long with any others.
        pool = torch.rand(POOL, generator=torch.Generator().manual_seed(0)).to(device, dtype)
        self._weights = [[_filled(pool, one.outputs, one.inputs) for _ in range(_held(one, share))] for one in products]
        self._layouts: dict[int, tuple[tuple[Any, ...], list[torch.Tensor]]] = {}
        self._graphs: dict[tuple[Any, ...], torch.cuda.CUDAGraph] = {}

    @property
    def names(self) -> list[str]:
        """Names of the libraries that can be timed."""
        return list(self._libraries)

    @torch.inference_mode()
    def time(
        self, direction: Direction, rows: int, head_rows: int, library: str = "linear", *, head: bool = True
    ) -> Elapsed:
        """Return the time of one pass over all products: `rows` tokens, of which `head_rows` go through the head.

        Without `head` the head is left out; with 0 rows the layers are.
        """
        total = Elapsed(0.0, 0.0)
        share = {
            part: min(1.0, self._most_flops / max(1, sum(one.flops(own) for one in self._products if one.head is part)))
            for part, own in ((False, rows), (True, head_rows))
        }
        for number, one in enumerate(self._products):
            own = head_rows if one.head else rows
            if own == 0 or (one.head and not head):
                continue
            needed, each = one.calls(own)
            held = self._weights[number]
            used = max(1, min(len(held), needed, round(share[one.head] * needed)))
            key = (number, direction, own, library, used)
            total += self._elapsed(key, held[:used], each).times(needed / used)
        return total

    def _elapsed(self, key: tuple[Any, ...], weights: Sequence[torch.Tensor], rows: int) -> Elapsed:
        _, direction, _, library, _ = key
        outputs, inputs = weights[0].shape
        multiply = self._libraries[library]
        if library == "onednn" and direction == "forward" and rows <= PACKED_ROWS:
            weights = self._packed(key, weights, rows)
        rows_RI = torch.ones(rows, inputs, dtype=self._dtype, device=self._device)
        gradient_RO = torch.ones(rows, outputs, dtype=self._dtype, device=self._device)

        def work() -> None:
            for weight_OI in weights:
                if direction == "forward":
                    multiply(rows_RI, weight_OI)
                elif direction == "input":
                    multiply(gradient_RO, weight_OI.t())
                else:
                    multiply(gradient_RO.t(), rows_RI.t())

        return self._on_gpu(key, work) if self._device.type == "cuda" else _on_cpu(work)

    def _packed(self, key: tuple[Any, ...], weights: Sequence[torch.Tensor], rows: int) -> Sequence[torch.Tensor]:
        """Return weights in oneDNN's own layout for so many rows, as an engine holds them that packs them once."""
        number = key[0]
        if self._layouts.get(number, (None,))[0] != key:
            reorder = torch.ops.mkldnn._reorder_linear_weight
            self._layouts[number] = key, [reorder(weight_OI, rows) for weight_OI in weights]
        return self._layouts[number][1]

    def _on_gpu(self, key: tuple[Any, ...], work: Callable[[], None]) -> Elapsed:
        if key not in self._graphs:
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(GRAPH_WARMUP):
                    work()
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                work()
            self._graphs[key] = graph
        graph = self._graphs[key]
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        graph.replay()  # clocks and caches are then those of a busy device
        began.record()
        graph.replay()
        ended.record()
        ended.synchronize()
        return Elapsed(began.elapsed_time(ended) / 1e3, 0.0)


def _filled(pool: torch.Tensor, outputs: int, inputs: int) -> torch.Tensor:
    return pool.repeat(-(-outputs * inputs // len(pool)))[: outputs * inputs].view(outputs, inputs)


def _held(one: Product, share: float) -> int:
    whole = one.count * one.experts
    return max(1, min(whole, int(share * whole)))


def _on_cpu(work: Callable[[], None]) -> Elapsed:
    began, used = time.perf_counter(), time.process_time()
    work()
    return Elapsed(time.perf_counter() - began, time.process_time() - used)
