"""Temporary states of a model: evaluation mode, and adapters that are switched off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Put a model into evaluation mode during the body.

    Each module gets back its own flag, which `train()` of the whole model would overwrite.
    """
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def without_adapters(model: Any) -> Iterator[None]:
    """Switch the adapters of a PEFT model off during the body."""
    model.base_model.disable_adapter_layers()
    try:
        yield
    finally:
        model.base_model.enable_adapter_layers()
