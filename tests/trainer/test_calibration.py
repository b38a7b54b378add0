"""The calibration at the start of a run: what it measures, how long it takes, and that it changes no random number."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from autophage.plan.light import seconds_of
from autophage.trainer.calibration import SLICE, _sliced, calibrate, light_of
from autophage.trainer.products import Product

CONFIG = LlamaConfig(
    vocab_size=50_000, hidden_size=256, intermediate_size=768, num_hidden_layers=6, num_attention_heads=4
)


def test_it_measures_a_decoding_step_and_many_tokens_in_half_a_second() -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIG)
    before = torch.get_rng_state()
    light = calibrate(model, torch.float32, concurrency=256, documents=32)
    assert torch.equal(torch.get_rng_state(), before)
    assert [rows for rows, _ in light.layers] == [rows for rows, _ in light.head]
    assert light.layers[0][0] == 32
    assert light.layers[1][0] > 32
    assert all(seconds > 0 for _, seconds in (*light.layers, *light.head))
    assert seconds_of(light.layers, 512) > seconds_of(light.layers, 32)
    assert 0 < light.seconds < 5  # half a second where the cores are free


def test_a_head_is_measured_in_slices_with_the_same_flops() -> None:
    head = Product("head", 2048, 128_256, 1, head=True)
    sliced = _sliced(head)
    assert sliced.inputs * sliced.outputs <= SLICE + sliced.inputs
    assert head.flops(8) <= sliced.flops(8) <= 1.01 * head.flops(8)
    assert _sliced(Product("layer", 2048, 128_256, 1)).count == 1


def test_a_model_of_unknown_parts_has_no_share_of_light(caplog: pytest.LogCaptureFixture) -> None:
    assert light_of(torch.nn.Linear(2, 2), torch.float32, 8, 8) is None
    assert "the share of light is not measured" in caplog.text


def test_an_adapted_model_has_the_products_of_its_base() -> None:
    from peft import LoraConfig, get_peft_model

    from autophage.trainer.products import products_of

    model = AutoModelForCausalLM.from_config(CONFIG)
    products = products_of(model)
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    names = {one.name.replace(".base_layer", "") for one in products_of(adapted.get_base_model())}
    assert names == {one.name for one in products}
    assert calibrate(adapted, torch.float32, 8, 8).layers
