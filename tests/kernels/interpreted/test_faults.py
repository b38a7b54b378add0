"""Faults of published kernels in the Triton kernels. `faults.py` describes each one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.kernels import exact, faults
from tests.kernels.interpreted.blocks import use_splits

from autophage_kernels import token_stats
from autophage_kernels.statistics import chosen
from autophage_kernels.triton_kernels import launch_stats


@pytest.mark.parametrize("splits", [1, 2])
@pytest.mark.parametrize("fault", faults.EVERYWHERE, ids=lambda fault: fault.__name__)
def test_does_not_have(fault: Callable[[], None], splits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    use_splits(monkeypatch, splits)
    fault()


@pytest.mark.parametrize("rows_inside", [True, False])
def test_offsets_beyond_2_to_the_31(rows_inside: bool) -> None:
    """Row times stride overflows 32 bits. The third of rows 1.5e9 elements apart would lie before the tensor."""
    try:
        storage = torch.UntypedStorage(2 * (3_000_000_000 + 300))  # never written but where the rows are
    except RuntimeError:
        pytest.skip("6 GB of address space cannot be had")
    rows = torch.tensor([], dtype=torch.float16).set_(storage, 0, (3, 300), (1_500_000_000, 1))
    values = torch.randn(3, 300).half()
    rows.copy_(values)
    logits = rows.unsqueeze(0) if rows_inside else rows.unsqueeze(1)
    target = torch.tensor([5, 6, 7])
    found = token_stats(logits, target.view(logits.shape[:2]))
    exact.check(type(found)(*(part.flatten() for part in found if part is not None)), exact.statistics, values, target)


def test_memory_that_nobody_wrote_is_read_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every allocated buffer is first filled with NaN, so that a missing write shows."""
    new_empty = torch.Tensor.new_empty

    def poisoned(self: torch.Tensor, *size: int, **options: Any) -> torch.Tensor:
        made: torch.Tensor = new_empty(self, *size, **options)
        return made.fill_(float("nan") if made.is_floating_point() else 777)

    monkeypatch.setattr(torch.Tensor, "new_empty", poisoned)
    logits, target = torch.randn(3, 600), torch.tensor([0, -100, 599])
    for names in (None, ["logprob"], ["entropy"], ["ties"], ["rank"], ["mass_above"], ["renyi2"], ["argmax"]):
        found = token_stats(logits, target, statistics=names)
        assert all(values.isfinite().all() for values in found if values is not None), names


def test_a_temperature_is_data() -> None:
    """TRL compiled its kernel anew for every value."""
    launches = [
        launch_stats.partial_launch(
            torch.zeros(1, 2, 64), None, None, torch.full((1,), temperature), 0.0, 0,
            chosen(["entropy"], with_target=False), False, torch.zeros(10, 1, 2),
        )
        for temperature in (0.5, 0.7)
    ]  # fmt: skip
    assert launches[0].constants == launches[1].constants
