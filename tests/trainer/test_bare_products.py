"""Times of bare products: what is computed, and how a part of the products stands for all."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from autophage.trainer.bare_products import BareProducts, Direction, Elapsed, libraries, linear, onednn
from autophage.trainer.products import Product, flops

CPU = torch.device("cpu")
LAYERS = [Product("q", 32, 48, 6), Product("experts", 32, 16, 2, experts=4, chosen=2)]
HEAD = Product("head", 32, 300, 1, head=True)


@pytest.mark.parametrize("direction", ["forward", "input", "weight"])
def test_a_pass_computes_the_flops_of_the_products(direction: Direction) -> None:
    bare = BareProducts([*LAYERS, HEAD], torch.float32, CPU)
    with FlopCounterMode(display=False) as counter:
        elapsed = bare.time(direction, 16, 8)
    assert counter.get_total_flops() == flops([*LAYERS, HEAD], 16, 8)
    assert elapsed.seconds > 0


def test_layers_and_head_apart() -> None:
    bare = BareProducts([*LAYERS, HEAD], torch.float32, CPU)
    with FlopCounterMode(display=False) as layers:
        bare.time("forward", 16, 8, head=False)
    with FlopCounterMode(display=False) as head:
        bare.time("forward", 0, 8)
    assert layers.get_total_flops() == flops(LAYERS, 16, 0)
    assert head.get_total_flops() == HEAD.flops(8)


def test_a_part_of_the_products_stands_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Product("q", 64, 64, 8)
    bare = BareProducts([whole], torch.float32, CPU, most_flops=whole.flops(16) / 4)
    monkeypatch.setattr("autophage.trainer.bare_products._on_cpu", lambda work: (work(), Elapsed(1.0, 2.0))[1])
    with FlopCounterMode(display=False) as counter:
        elapsed = bare.time("forward", 16, 16)
    assert counter.get_total_flops() == whole.flops(16) / 4
    assert elapsed == Elapsed(4.0, 8.0)


def test_memory_limits_the_weights() -> None:
    bare = BareProducts([Product("q", 64, 64, 100)], torch.float32, CPU, most_bytes=5 * 64 * 64 * 4)
    assert [len(held) for held in bare._weights] == [5]


def test_libraries_give_the_same_product() -> None:
    rows, weight = torch.randn(5, 7), torch.randn(3, 7)
    assert "linear" in libraries(CPU)
    if "onednn" in libraries(CPU):
        torch.testing.assert_close(onednn(rows, weight), linear(rows, weight))
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, 5)
        torch.testing.assert_close(onednn(rows, packed), linear(rows, weight))
        for many in (16, 1024, 16):
            bare = BareProducts([*LAYERS, HEAD], torch.float32, CPU)
            assert bare.time("forward", many, 8, "onednn").seconds > 0
        torch.testing.assert_close(onednn(rows.t(), torch.randn(5, 4).t()).shape, torch.Size([7, 4]))
