"""LoRA by groups of rows equals vLLM's own CPU operations, and is installed only where it fits.

vLLM's own get only the rows with an adapter: they would give the others the last slot's.
"""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from vllm.lora.layers import LoRAMapping
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU
from vllm.platforms import current_platform

from autophage.sampler import cpu_lora
from autophage.sampler.grouped_lora import GroupedPunicaWrapper, groups_of

SLOTS, RANK, HIDDEN = 5, 16, 24
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
"""Relative to the largest value. bfloat16 rounds at 4e-3, three times in a product."""

PATTERNS: dict[str, list[int]] = {
    "no adapter at all": [-1] * 9,
    "one slot": [2] * 7,
    "one slot and rows without": [2, -1, 2, 2, -1],
    "the last slot and rows without": [SLOTS - 1, -1, SLOTS - 1],
    "in order": [0] * 6 + [1] * 6 + [2] * 6,
    "in order, a slot between idle": [0] * 6 + [2] * 6,
    "in turns": [0, 1, 2, 3] * 8,
    "one row": [3],
    "all slots once": [4, 2, 0, 3, 1],
    "far from even": [1] * 200 + [0] + [4] * 3 + [-1] * 2 + [3] * 40 + [1] * 100,
}
for seed in range(12):
    generator = torch.Generator().manual_seed(seed)
    size = int(torch.randint(1, 300, (1,), generator=generator))
    PATTERNS[f"random {seed}"] = torch.randint(-1, SLOTS, (size,), generator=generator).tolist()


def wrapper(kind: type[PunicaWrapperCPU], slots: list[int], sampled: list[int] | None = None) -> Any:
    """Make a wrapper that knows the slots of a step's rows, and of the rows that are sampled."""
    made = kind(1024, 1024, "cpu")
    mapping = LoRAMapping(
        tuple(slot + 1 for slot in slots), tuple(slot + 1 for slot in (slots if sampled is None else sampled)), True
    )
    made.update_metadata(mapping, list(range(1, SLOTS + 1)), SLOTS + 1, 100)
    return made


def adapters(width: int, inner: int, dtype: torch.dtype, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Make A and B of every slot, padded with zeros as by vLLM. Ranks are 1, 4, 16, 16 and none."""
    torch.manual_seed(seed)
    a, b = torch.randn(SLOTS, 1, RANK, inner), torch.randn(SLOTS, 1, width, RANK)
    for slot, rank in enumerate((1, 4, 16, 16, 0)):
        a[slot, :, rank:] = 0
        b[slot, :, :, rank:] = 0
    return a.to(dtype), b.to(dtype)


def check(found: torch.Tensor, expected: torch.Tensor, before: torch.Tensor, slots: list[int]) -> None:
    own = torch.tensor(slots) >= 0
    assert torch.equal(found[~own], before[~own]), "a row without an adapter was changed"
    limit = TOLERANCE[found.dtype] * max(1.0, float(expected.abs().max()) if own.any() else 1.0)
    assert (found[own].float() - expected.float()).abs().max().item() <= limit if own.any() else True


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_linear_layers_of_several_slices(pattern: str, scale: float, dtype: torch.dtype) -> None:
    slots, widths = PATTERNS[pattern], (32, 8, 8)
    pairs = [adapters(width, HIDDEN, dtype, seed) for seed, width in enumerate(widths)]
    a, b = tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs)
    x, before = torch.randn(len(slots), HIDDEN).to(dtype), torch.randn(len(slots), sum(widths)).to(dtype)
    own = [slot for slot in slots if slot >= 0]
    rows = torch.tensor(slots) >= 0
    expected = before[rows]
    if own:
        wrapper(PunicaWrapperCPU, own).add_lora_linear(expected, x[rows], a, b, scale, widths)
    found, again = before.clone(), before.clone()
    grouped = wrapper(GroupedPunicaWrapper, slots)
    grouped.add_lora_linear(found, x, a, b, scale, widths)
    grouped.add_lora_linear(again, x, a, b, scale, widths)
    check(found, expected, before, slots)
    assert torch.equal(found, again)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("width", [40, 64], ids=["logits wider than B", "B wider than logits"])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_logits_by_the_slots_of_the_sampled_rows(pattern: str, width: int, dtype: torch.dtype) -> None:
    slots = PATTERNS[pattern]
    a, b = adapters(width, HIDDEN, dtype, 7)
    x, before = torch.randn(len(slots), HIDDEN).to(dtype), torch.randn(len(slots), 50).to(dtype)
    rows = torch.tensor(slots) >= 0
    own, expected = [slot for slot in slots if slot >= 0], before[rows]
    if own:
        wrapper(PunicaWrapperCPU, own).add_lora_logits(expected, x[rows], a, b, 1.0)
    found = before.clone()
    tokens = [slot for slot in slots for _ in range(2)]  # a prompt has more rows than are sampled from
    wrapper(GroupedPunicaWrapper, tokens, slots).add_lora_logits(found, x, a, b, 1.0)
    check(found, expected, before, slots)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_embeddings(pattern: str, dtype: torch.dtype) -> None:
    slots = PATTERNS[pattern]
    _, b = adapters(HIDDEN, RANK, dtype, 3)
    x, before = torch.randn(len(slots), RANK).to(dtype), torch.randn(len(slots), HIDDEN).to(dtype)
    rows = torch.tensor(slots) >= 0
    own, expected = [slot for slot in slots if slot >= 0], before[rows]
    if own:
        wrapper(PunicaWrapperCPU, own).add_lora_embedding(expected, x[rows], b)
    found = before.clone()
    wrapper(GroupedPunicaWrapper, slots).add_lora_embedding(found, x, b)
    check(found, expected, before, slots)


def test_adapters_in_float32_over_a_bfloat16_model() -> None:
    slots = PATTERNS["random 1"]
    a, b = adapters(32, HIDDEN, torch.float32, 0)
    x, before = torch.randn(len(slots), HIDDEN).bfloat16(), torch.zeros(len(slots), 32).bfloat16()
    found = before.clone()
    wrapper(GroupedPunicaWrapper, slots).add_lora_linear(found, x, (a,), (b,), 1.0, (32,))
    exact = torch.stack(
        [b[slot, 0] @ a[slot, 0] @ row.float() for slot, row in zip(slots, x, strict=True) if slot >= 0]
    )
    check(found, exact, before, slots)


def test_nothing_of_one_adapters_rows_reaches_anothers() -> None:
    slots = [0, 1, 0, 1, 1, -1]
    a, b = adapters(8, HIDDEN, torch.float32, 0)
    x, y = torch.randn(6, HIDDEN), torch.zeros(6, 8)
    x[1] = torch.nan
    wrapper(GroupedPunicaWrapper, slots).add_lora_linear(y, x, (a,), (b,), 1.0, (8,))
    assert y.isnan().any(1).tolist() == [False, True, False, False, False, False]


def test_a_step_of_other_rows_than_its_mapping_is_refused() -> None:
    a, b = adapters(8, HIDDEN, torch.float32, 0)
    with pytest.raises(ValueError, match="5 rows, but the step's LoRA mapping has 4"):
        wrapper(GroupedPunicaWrapper, [1] * 4).add_lora_linear(
            torch.zeros(5, 8), torch.randn(5, HIDDEN), (a,), (b,), 1.0, (8,)
        )


def test_buckets_of_even_groups_are_one_and_of_uneven_ones_several() -> None:
    def shapes(*sizes: int) -> list[tuple[int, int]]:
        slots = torch.tensor([slot for slot, size in enumerate(sizes) for _ in range(size)], dtype=torch.long)
        return [(one.count, (one.end - one.start) // one.count) for one in groups_of(slots).buckets]

    assert shapes(64, 64, 64, 64) == [(4, 64)]
    assert shapes(90, 46, 60) == [(3, 90)]
    assert shapes(200, 3, 80, 70, 1) == [(1, 200), (2, 80), (2, 3)]
    assert shapes(16, 1, 2) == [(3, 16)]
    assert shapes() == []


def test_padding_is_bounded_whatever_the_sizes() -> None:
    for seed in range(50):
        torch.manual_seed(seed)
        slots = torch.randint(0, SLOTS, (200,)).pow(2) % SLOTS
        assert groups_of(slots).buckets[-1].end <= 2 * 200 + 16 * SLOTS


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> Any:
    """vLLM's platform class, restored afterwards."""
    kind = type(current_platform)
    monkeypatch.setattr(kind, "get_punica_wrapper", classmethod(lambda _: cpu_lora.REPLACED))
    return kind


def test_install_is_asked_for_once_or_twice(platform: Any) -> None:
    assert cpu_lora.install()
    assert cpu_lora.install()
    assert platform.get_punica_wrapper() == "autophage.sampler.grouped_lora.GroupedPunicaWrapper"


def _with_another_parameter(self: Any, y: Any, x: Any, lora_a_stacked: Any, lora_b_stacked: Any, **kwargs: Any) -> None:
    raise AssertionError


def test_a_changed_class_stays_as_it_is(
    platform: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(PunicaWrapperCPU, "add_lora_linear", _with_another_parameter)
    monkeypatch.delattr(PunicaWrapperCPU.__base__, "sampler_indices")
    with caplog.at_level(logging.WARNING, "autophage"):
        assert not cpu_lora.install()
    assert "changed add_lora_linear, sampler_indices" in caplog.text
    assert platform.get_punica_wrapper() == cpu_lora.REPLACED


def test_another_class_stays_as_it_is(
    platform: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(platform, "get_punica_wrapper", classmethod(lambda _: "vllm.faster.Wrapper"))
    with caplog.at_level(logging.WARNING, "autophage"):
        assert not cpu_lora.install()
    assert "it uses vllm.faster.Wrapper" in caplog.text
    assert platform.get_punica_wrapper() == "vllm.faster.Wrapper"
