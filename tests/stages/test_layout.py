"""The choice between a whole model on every trainer GPU and split layers."""

from __future__ import annotations

import pytest

from autophage.recipe import load_recipe
from autophage.stages.layout import keeps_whole

GIB = 1 << 30
EIGHT = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128_256,
}


@pytest.mark.parametrize(
    ("settings", "config", "device", "whole"),
    [
        ([], EIGHT, 140 * GIB, True),
        ([], EIGHT, 16 * GIB, False),
        ([], EIGHT, None, False),
        ([], {}, 140 * GIB, False),
        (["devices=colocated", "sample.memory=0.5"], EIGHT, 80 * GIB, True),
        (["devices=colocated", "sample.memory=0.9"], EIGHT, 80 * GIB, False),
    ],
)
def test_the_memory_of_one_gpu_decides(
    settings: list[str], config: dict[str, int], device: int | None, whole: bool
) -> None:
    base = ["devices=disjoint", "cluster.trainer_gpus=4", "model.dtype=bfloat16"]
    loaded = load_recipe("smoke", [*base, *settings])
    assert keeps_whole(loaded.recipe, config, loaded.arms, device) is whole
