"""Choice of backend: Triton on a GPU, plain torch elsewhere. A fallback on a GPU is logged.

`AUTOPHAGE_KERNELS` = `triton` or `torch` overrides the choice. With `TRITON_INTERPRET=1` the kernels run on CPU tensors under
Triton's interpreter. Tests use it where there is no GPU. Set it before anything imports Triton.
"""

from __future__ import annotations

import functools
import importlib
import logging
import os
from typing import Any, Literal

import torch

Backend = Literal["triton", "interpreter", "torch"]

OVERRIDE = "AUTOPHAGE_KERNELS"

log = logging.getLogger("autophage_kernels")


def backend_in_use(device: torch.device | str | None = None, dtype: torch.dtype = torch.float32) -> Backend:
    """Return the name of the backend that serves tensors of this device and type.

    The device defaults to a GPU if there is one. Torch always serves float64 logits, in float64.

    Raises:
        ValueError: `AUTOPHAGE_KERNELS` is neither `triton` nor `torch`.
        RuntimeError: `AUTOPHAGE_KERNELS` is `triton`, which cannot serve here.
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return _choose(torch.device(device).type, dtype == torch.float64, os.environ.get(OVERRIDE, ""))


def operations(tensor: torch.Tensor) -> Any:
    """Return the module whose functions compute on this tensor: `reference` or `triton_kernels`."""
    if backend_in_use(tensor.device, tensor.dtype) == "torch":
        return importlib.import_module("autophage_kernels.reference")
    return importlib.import_module("autophage_kernels.triton_kernels")


@functools.cache
def _choose(device_type: str, double: bool, override: str) -> Backend:
    if override not in ("", "triton", "torch"):
        raise ValueError(f"{OVERRIDE} is 'triton' or 'torch'; got {override!r}")
    if double or override == "torch":
        return "torch"
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    if device_type == "cpu" and not interpreted:
        if override == "triton":
            raise RuntimeError(
                f"{OVERRIDE}=triton, but the tensors are on a CPU (TRITON_INTERPRET=1 interprets the kernels)"
            )
        return "torch"
    missing = _why_triton_is_missing()
    if missing is None:
        return "interpreter" if interpreted else "triton"
    if override == "triton":
        raise RuntimeError(f"{OVERRIDE}=triton, but Triton cannot be used: {missing}")
    log.warning(
        "Triton cannot be used (%s): token statistics on %s come from plain torch, more slowly", missing, device_type
    )
    return "torch"


@functools.cache
def _why_triton_is_missing() -> str | None:
    try:
        importlib.import_module("autophage_kernels.triton_kernels")
    except ImportError as error:
        return str(error)
    return None
