"""Linear layers computed by oneDNN give the values and gradients of torch and PEFT, and step aside where they do not apply."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import Linear as LoraLinear

from autophage.trainer import onednn
from autophage.trainer.folding import folded
from autophage.trainer.modes import without_adapters

WIDE, NARROW = 320, 288
"""Widths of a layer of more than `SMALLEST` weights."""


class Model(torch.nn.Module):
    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.up = torch.nn.Linear(NARROW, WIDE, bias=bias)
        self.small = torch.nn.Linear(WIDE, 8, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.small(torch.tanh(self.up(x)))
        return y


def adapted(bias: bool, **config: Any) -> Any:
    torch.manual_seed(0)
    made = get_peft_model(Model(bias), LoraConfig(r=4, lora_alpha=12, target_modules=["up", "small"], **config))
    for name, parameter in made.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return made


def results(model: torch.nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """Return the output, and the gradients to the input and each trained parameter."""
    model.zero_grad()
    x = x.clone().requires_grad_()
    y = model(x)
    (y.square().sum() + y.sum()).backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.requires_grad]
    return [y.detach(), *(one for one in [x.grad, *gradients] if one is not None)]


def stood_in(model: torch.nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if "forward" in vars(module)]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(7,), (2, 5), (1, 1)])
def test_lora_has_pefts_values_and_gradients(bias: bool, shape: tuple[int, ...]) -> None:
    model, x = adapted(bias), torch.randn(*shape, NARROW)
    expected = results(model, x)
    onednn.use_onednn(model)
    assert stood_in(model) == ["base_model.model.up"]
    found = results(model, x)
    assert len(found) == 6
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    with without_adapters(model):
        base = model.get_base_model()
        plain = torch.nn.functional.linear(x, base.up.base_layer.weight, base.up.base_layer.bias)
        torch.testing.assert_close(base.up(x), plain, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bias", [False, True])
def test_trained_weights_have_torchs_gradients(bias: bool) -> None:
    torch.manual_seed(0)
    model, x = Model(bias), torch.randn(3, 5, NARROW)
    expected = results(model, x)
    onednn.use_onednn(model)
    assert stood_in(model) == ["up"]
    for one, other in zip(results(model, x), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("config", [{"lora_dropout": 0.5}, {"use_dora": True}])
def test_what_is_not_plain_lora_is_computed_by_peft(config: dict[str, Any]) -> None:
    model, x = adapted(False, **config), torch.randn(4, NARROW)
    torch.manual_seed(1)
    expected = results(model, x)
    onednn.use_onednn(model)
    torch.manual_seed(1)
    assert all(torch.equal(one, other) for one, other in zip(results(model, x), expected, strict=True))


def test_two_adapters_take_turns() -> None:
    model, x = adapted(False), torch.randn(4, NARROW)
    onednn.use_onednn(model)
    first = model(x)
    model.add_adapter("other", LoraConfig(r=8, lora_alpha=8, target_modules=["up", "small"]))
    model.set_adapter("other")
    assert not torch.allclose(model(x), first)
    model.set_adapter("default")
    assert torch.equal(model(x), first)


def test_a_narrower_type_of_autocast_stands() -> None:
    model, x = Model(False), torch.randn(4, NARROW)
    onednn.use_onednn(model)
    with torch.autocast("cpu", torch.bfloat16):
        assert model.up(x).dtype is torch.bfloat16


def test_layers_on_another_device_or_of_another_type_stay() -> None:
    model = adapted(False).to(torch.bfloat16)
    onednn.use_onednn(model)
    assert isinstance(model.base_model.model.up, LoraLinear)
    assert not stood_in(model)


def test_a_folded_pass_gives_the_layer_its_products_back() -> None:
    model, x = adapted(False).eval(), torch.randn(64, NARROW)
    expected = model(x)
    onednn.use_onednn(model)
    with torch.no_grad(), folded(model, len(x)):
        torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-5)
        assert sorted(stood_in(model)) == ["base_model.model.small", "base_model.model.up"]
    assert stood_in(model) == ["base_model.model.up"]
