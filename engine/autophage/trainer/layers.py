"""The decoder layers of a model, and their compilation for training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from autophage.errors import RunError

BACKEND = "inductor"


def decoder_layers(base: Any) -> list[torch.nn.Module]:
    """Return the decoder layers of a model: the modules that transformers does not split further.

    Raises:
        RunError: the model does not declare its layers.
    """
    names = set(getattr(base, "_no_split_modules", None) or ())
    found = [module for module in base.modules() if type(module).__name__ in names]
    if not found:
        raise RunError(
            f"{type(base).__name__} does not declare its layers (_no_split_modules), so they cannot be told from the rest"
        )
    return found


@contextmanager
def compiled(base: Any) -> Iterator[None]:
    """Compile the decoder layers of a model inside the context, for any number of documents and tokens.

    All layers share one compiled function, and later contexts use it again. Outside, layers run as before.
    """
    layers: list[Any] = decoder_layers(base)
    for layer in layers:
        layer.compile(dynamic=True, backend=BACKEND)
    try:
        yield
    finally:
        for layer in layers:
            layer._compiled_call_impl = None
