"""Which base model the engine computes with: the one it was started with, or the whole weights of an arm.

Whole weights are kept on the host, rounded to the type that they are served in, and go into the engine when requests for
them come; what is asked of another base has to have ended by then, because all requests of a step share one base.
Adapters belong to the original base and stay registered in the meantime. Knows bytes and names; the engine itself
reaches weights through the worker's extension.
"""

from __future__ import annotations

from typing import Any

import safetensors.torch
import torch

from autophage.errors import RunError, SwapError
from autophage.store.weights import Weights


class BaseWeights:
    """The whole weights that may be asked for by name, and which of them, if any, the engine computes with."""

    def __init__(self, engine: Any, dtype: str) -> None:
        self._engine = engine
        self._dtype: torch.dtype = getattr(torch, dtype)
        self._held: dict[str, bytes] = {}
        self._live: str | None = None
        self._sound = True

    def hold(self, name: str, weights: Weights) -> str | None:
        """Keep `weights` under `name`, and return what `switch` wants for them: None where they are the original base.

        Raises:
            SwapError: they cannot be read.
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
        """What the engine computes with, by name; None is the base that it was started with."""
        return self._live

    def let_go(self, name: str) -> None:
        """Forget weights that nothing will be asked of any more. The engine goes on with them until it is switched."""
        self._held.pop(name, None)

    def switch(self, name: str | None) -> None:
        """Compute with the weights `name` from now on, or with the original base where it is None.

        Raises:
            RunError: requests are running; they would go on under other weights than they were begun with.
            SwapError: the weights are not held, or are not the model's. Another switch brings the engine back.
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
        except Exception as error:  # as various as models are, and different across the processes of an engine
            raise SwapError(f"{name or 'the base model'}: vLLM does not take the weights ({error})") from error
        # What is cached of prompts was computed by the weights before, and is found by the tokens alone.
        if not self._engine.reset_prefix_cache():
            raise RunError("vLLM did not empty its prefix cache, which holds what other weights computed")
        self._live, self._sound = name, True
