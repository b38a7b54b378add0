"""Other sizes of blocks, and other numbers of splits, than those that fit a GPU."""

from __future__ import annotations

import pytest

from autophage_kernels.triton_kernels import launch_divergence, launch_stats


def use_blocks(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    for module in (launch_stats, launch_divergence):
        monkeypatch.setattr(module, "BLOCK", block)


def use_splits(monkeypatch: pytest.MonkeyPatch, splits: int) -> None:
    """Every row in this many parts, however short; those that there are no columns for stay empty."""
    for module in (launch_stats, launch_divergence):
        monkeypatch.setattr(module, "split_count", lambda *_, **__: splits)
