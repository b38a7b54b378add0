"""Typed calls on a cell's two actors. Each call returns a reference to a result at once.

An argument may be the reference to another actor's result. Ray then passes the result on without the driver. Weights
travel in no other way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from autophage.cluster.calls import Handle
from autophage.plan.light import Light
from autophage.sampler.protocol import Completion, Decoding, EngineSettings, Request, Served
from autophage.store.canary import CanaryRecord
from autophage.store.corpus import Sample
from autophage.store.messages import Measured, TrainingRecord
from autophage.store.weights import Weights

if TYPE_CHECKING:
    from ray import ObjectRef

Orders: TypeAlias = tuple[list[Request], Decoding]
"""The requests to one model, and the decoding of requests that have none of their own."""


class Fit(NamedTuple):
    """References to the parts of a training's result."""

    record: ObjectRef[TrainingRecord]
    weights: ObjectRef[Weights]
    optimizer: ObjectRef[bytes | None]


class TrainerClient:
    """Calls on `actors.TrainerActor`. Each returns a reference to its result at once."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def prepare(self) -> ObjectRef[dict[str, Any]]:
        return self._handle.prepare.remote()

    def light(self) -> ObjectRef[Light | None]:
        return self._handle.light.remote()

    def engine_settings(self) -> ObjectRef[EngineSettings]:
        return self._handle.engine_settings.remote()

    def canary_prompts(self) -> ObjectRef[list[list[int]]]:
        return self._handle.canary_prompts.remote()

    def orders(self, arm: str, generation: int) -> ObjectRef[Orders]:
        return self._handle.orders.remote(arm, generation)

    def base_weights(self, arm: str) -> ObjectRef[Weights]:
        return self._handle.base_weights.remote(arm)

    def fit(
        self,
        arm: str,
        generation: int,
        start: ObjectRef[Weights] | None,
        corpora: Mapping[int, Sequence[Sample]],
        optimizer: ObjectRef[bytes | None] | None,
        *,
        early: bool,
    ) -> Fit:
        call = self._handle.fit.options(num_returns=len(Fit._fields))
        references: Any = call.remote(arm, generation, start, corpora, optimizer, early=early)
        return Fit(*references)

    def feed(self, documents: Mapping[int, list[int]]) -> ObjectRef[bool]:
        """Hand documents (token ids by place) to a training that began early, while it runs.

        The result is False if the training has not begun.
        """
        return self._handle.feed.options(concurrency_group="watch").remote(documents)

    def check_canary(
        self,
        weights: ObjectRef[Weights],
        completions: ObjectRef[list[Completion]],
        previous: ObjectRef[Weights] | None,
    ) -> ObjectRef[CanaryRecord]:
        return self._handle.check_canary.remote(weights, completions, previous)

    def measure(
        self,
        arm: str,
        generation: int,
        weights: ObjectRef[Weights],
        previous: ObjectRef[Weights] | None,
        completions: Sequence[Completion],
    ) -> ObjectRef[Measured]:
        return self._handle.measure.remote(arm, generation, weights, previous, completions)


class SamplerClient:
    """Calls on `actors.SamplerActor`. Each returns a reference to its result at once."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def start(self, settings: EngineSettings) -> ObjectRef[None]:
        return self._handle.start.remote(settings)

    def prove(self, seconds: float) -> ObjectRef[bool]:
        """Check, while the engine runs, that it writes a token within `seconds`.

        The result is True if the token is of a requested document.
        """
        return self._handle.prove.options(concurrency_group="probe").remote(seconds)

    def install(self, key: str, weights: ObjectRef[Weights]) -> ObjectRef[Served]:
        return self._handle.install.remote(key, weights)

    def remove(self, served: Served) -> ObjectRef[None]:
        return self._handle.remove.remote(served)

    def canary(self, served: ObjectRef[Served], prompts: Sequence[Sequence[int]]) -> ObjectRef[list[Completion]]:
        return self._handle.canary.remote(served, prompts)

    def sample(
        self, keys: Sequence[str], served: Sequence[Served], orders: Sequence[ObjectRef[Orders]]
    ) -> list[ObjectRef[list[Completion]]]:
        """Sample from several models in one batch. Return a reference to each model's documents."""
        call = self._handle.sample.options(num_returns=len(keys), concurrency_group="sample")
        references: Any = call.remote(list(keys), list(served), *orders)
        return [references] if len(keys) == 1 else references  # Ray returns a lone reference bare

    def written(self, key: str) -> ObjectRef[dict[int, list[int]]]:
        """Read, while sampling runs, the token ids of the documents of job `key` that have ended, by their places."""
        return self._handle.written.options(concurrency_group="watch").remote(key)
