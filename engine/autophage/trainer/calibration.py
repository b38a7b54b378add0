"""Measures the speed of light of a model on this device when a run starts: a few of its bare matrix products, in half a second.

Two points are enough: a decoding step, which reads every weight for few tokens, and a pass of many tokens. The products are a
sample of the layers and slices of the head. Nothing here draws from a generator that training or sampling use.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from autophage.errors import first_line
from autophage.host.devices import give_back_memory
from autophage.plan.light import Light, TimedPass
from autophage.trainer.bare_products import BareProducts
from autophage.trainer.products import Product, products_of

log = logging.getLogger("autophage")

SECONDS = 0.2
"""Time after which nothing more is measured, but for the first try of each point."""
TRIES = 3
"""Passes of each point. The shortest counts, because other processes only add to it."""
MANY = 1024
"""Tokens of a pass whose rate a longer one does not exceed by much."""
CPU_FLOPS, GPU_FLOPS = 1e9, 1e12
"""FLOPs of a pass: 10 ms on two cores, or a few ms on a GPU."""
WEIGHT_BYTES = 48 << 20
"""Memory for weights. It exceeds the second-level caches."""
SLICE = 1 << 21
"""Weights of a slice of the head."""


def light_of(model: Any, dtype: torch.dtype, concurrency: int, documents: int) -> Light | None:
    """Return `calibrate`'s measurement. None, with a warning, if it fails: a run needs no share of light.

    On a GPU its memory is given back, which the sampler counts on.
    """
    try:
        return calibrate(model, dtype, concurrency, documents)
    except Exception as error:  # a model of unknown parts, a device without graphs, memory that ran out
        log.warning("the share of light is not measured: %s: %s", type(error).__name__, first_line(error))
        return None
    finally:
        give_back_memory()


def calibrate(model: Any, dtype: torch.dtype, concurrency: int, documents: int) -> Light:
    """Measure the matrix products of a loaded model on its device.

    Args:
        dtype: Type of computation.
        concurrency: Documents that a decoding step computes at most.
        documents: Documents that an arm samples, usually at once if there are fewer.
    """
    began = time.perf_counter()
    device: torch.device = model.device
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    products = [_sliced(one) for one in products_of(base)]
    most_flops = CPU_FLOPS if device.type == "cpu" else GPU_FLOPS
    rows_of_step = min(concurrency, documents)
    bare = BareProducts(products, dtype, device, most_bytes=WEIGHT_BYTES, most_flops=most_flops)
    points = {
        (part, rows): _shortest(bare, rows, part == "head", began)
        for rows in sorted({rows_of_step, max(rows_of_step, _many(products, most_flops))})
        for part in ("layers", "head")
    }

    def of(part: str) -> tuple[TimedPass, ...]:
        return tuple((rows, seconds) for (name, rows), seconds in points.items() if name == part)

    return Light(of("layers"), of("head"), concurrency, round(time.perf_counter() - began, 3))


def _shortest(bare: BareProducts, rows: int, head: bool, began: float) -> float:
    """Return the seconds of the fastest pass of `rows` tokens, through the head or the layers."""
    found: list[float] = []
    for _ in range(TRIES):
        for library in bare.names:
            if found and time.perf_counter() - began > SECONDS:
                break
            elapsed = bare.time("forward", 0 if head else rows, rows if head else 0, library)
            # Where other processes take the cores away, the processor time tells what the threads need without them.
            shared = elapsed.processor / torch.get_num_threads()
            found.append(min(elapsed.seconds, shared) if shared else elapsed.seconds)
    return min(found)


def _many(products: Sequence[Product], most_flops: float) -> int:
    """Return the tokens of a pass of which one layer of each kind takes at most `most_flops`."""
    of_a_token = sum(2 * one.inputs * one.outputs for one in products if not one.head)
    return min(MANY, int(most_flops // max(1, of_a_token)))


def _sliced(product: Product) -> Product:
    """Return a head as slices, of which a few stand for all: it may have gigabytes."""
    slices = -(-product.inputs * product.outputs // SLICE)
    if not product.head or slices <= 1:
        return product
    return replace(product, outputs=-(-product.outputs // slices), count=slices)
