"""Block sizes and numbers of splits that do not fit a GPU."""

from __future__ import annotations

import pytest

from autophage_kernels.triton_kernels import launch_divergence, launch_stats


def use_blocks(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    for module in (launch_stats, launch_divergence):
        monkeypatch.setattr(module, "BLOCK", block)


def use_splits(monkeypatch: pytest.MonkeyPatch, splits: int) -> None:
    """Split every row into this many parts. Parts without columns stay empty."""
    for module in (launch_stats, launch_divergence):
        monkeypatch.setattr(module, "split_count", lambda *_, **__: splits)
