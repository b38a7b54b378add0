"""The base model that the engine computes with: the original one, or the whole weights of an arm.

The host keeps whole weights, rounded to the type in which they are served. They enter the engine when requests for them
come. Requests on another base finish first: one step uses one base. Adapters belong to the original base and stay
registered meanwhile. This module knows bytes and names; the worker's extension handles tensors.
"""

from __future__ import annotations

from typing import Any

import safetensors.torch
import torch

from autophage.errors import RunError, SwapError
from autophage.store.weights import Weights


class BaseWeights:
    """The whole weights that the host keeps by name. One of them may be in the engine."""

    def __init__(self, engine: Any, dtype: str) -> None:
        self._engine = engine
        self._dtype: torch.dtype = getattr(torch, dtype)
        self._held: dict[str, bytes] = {}
        self._live: str | None = None
        self._sound = True

    def hold(self, name: str, weights: Weights) -> str | None:
        """Keep whole weights on the host under `name`, and return the name for `switch`.

        The original base needs no keeping: its name is None.

        Raises:
            SwapError: The weights cannot be read.
        """
        if weights.reference is not None:
            return None
        try:
            tensors = safetensors.torch.load(weights.tensors)
        except safetensors.SafetensorError as error:
            raise SwapError(f"{name}: its weights cannot be read ({error})") from error
        self._held[name] = safetensors.torch.save({key: tensor.to(self._dtype) for key, tensor in tensors.items()})
        return name

    @property
    def live(self) -> str | None:
        """Name of the weights in the engine; None is the original base."""
        return self._live

    def let_go(self, name: str) -> None:
        """Forget the weights `name`, which no request will need.

        The engine computes with them until the next switch.
        """
        self._held.pop(name, None)

    def switch(self, name: str | None) -> None:
        """Put the weights `name` into the engine, or the original base where it is None.

        Raises:
            RunError: Requests are running. They would continue under other weights than they began with.
            SwapError: The weights are not held, or do not fit the model. A further switch brings the engine back.
        """
        if self._sound and name == self._live:
            return
        if name is not None and name not in self._held:
            raise SwapError(f"{name}: its weights are not in the sampler")
        if self._engine.has_unfinished_requests():
            raise RunError(f"{name or 'the base model'}: cannot be switched to while requests are running")
        self._sound = False
        try:
            self._engine.collective_rpc("autophage_load_base", args=(None if name is None else self._held[name],))
        except Exception as error:  # of any type, by model and by worker process
            raise SwapError(f"{name or 'the base model'}: vLLM does not take the weights ({error})") from error
        # The prefix cache was computed with the weights before, and is looked up by tokens alone.
        if not self._engine.reset_prefix_cache():
            raise RunError("vLLM did not empty its prefix cache, which holds results of other weights")
        self._live, self._sound = name, True
