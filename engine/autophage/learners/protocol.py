"""What the loop asks of a learner, whatever it is: human rows, a fit, rows of its own, what is measured, rows to and from disk.

A row is one sample. The state of a fitted learner is named arrays, and nothing else: it goes to disk as safetensors and
comes back the same, so a resumed chain goes on from the very numbers. Every method is a function of its arguments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from autophage.data.mix import synthetic_count
from autophage.metrics.intervals import mean_interval
from autophage.progress import Meter
from autophage.recipe.schema import Recipe
from autophage.store.corpus import Sample
from autophage.store.manifest import Metric
from autophage.store.numbers import Numbers, read_numbers

Parameters = Mapping[str, np.ndarray]
R = TypeVar("R")


class Learner(Protocol[R]):
    """A learner with rows of type `R`, bound to one arm's recipe."""

    @property
    def config(self) -> dict[str, Any]:
        """What the arrays and the rows mean: kept beside the state as `learner.json`."""
        ...

    @property
    def digest(self) -> str:
        """Names the human data: equal digests mean equal rows."""
        ...

    @property
    def device(self) -> str:
        """`cpu`, or the name of the GPU that fits."""
        ...

    def human(self, draw: int, count: int) -> list[R]:
        """`count` human rows of the draw with seed `draw`."""
        ...

    def fit(self, rows: Sequence[R], seed: int, previous: Parameters | None, meter: Meter) -> Parameters:
        """The learner fitted on `rows`; `previous` is the model that a cumulative chain goes on from, None at model 0."""
        ...

    def draw(self, state: Parameters, count: int, seed: int) -> list[R]:
        """`count` rows that the fitted learner writes."""
        ...

    def measure(
        self, generation: int, state: Parameters, base: Parameters, rows: Sequence[R], seed: int
    ) -> list[Metric]:
        """What is measured on model `generation` and the rows it drew; `base` is model 0 of the arm."""
        ...

    def pack(self, state: Parameters, rows: Sequence[R], sample_ids: list[str], seed: int) -> list[Sample] | Numbers:
        """The rows that `state` drew, as the store keeps them."""
        ...

    def unpack(self, shards: Sequence[Path]) -> list[R]:
        """The rows of a committed corpus: equal to those that were drawn."""
        ...


class NumericLearner:
    """A learner whose rows are float32 arrays [width], on the CPU unless it says otherwise."""

    device = "cpu"

    def pack(self, state: Parameters, rows: Sequence[np.ndarray], sample_ids: list[str], seed: int) -> Numbers:
        return Numbers(sample_ids, np.stack(rows), seed)

    def unpack(self, shards: Sequence[Path]) -> list[np.ndarray]:
        return list(read_numbers(shards))


def constant_synthetic(recipe: Recipe) -> int | None:
    """How many rows of every generation's mix a model wrote; None under a schedule, of which no closed form is known."""
    return synthetic_count(recipe, 0) if recipe.mix.schedule == "constant" else None


def mean_metric(name: str, values: np.ndarray) -> Metric:
    """The mean over independent chains [repetitions] with Student's interval."""
    return Metric(name, float(values.mean()), *mean_interval(values), len(values))


def rows_of(values: np.ndarray) -> list[np.ndarray]:
    """[rows, ...] as the float32 rows that the store keeps, so that a fit sees what a resumed one would."""
    return list(values.reshape(len(values), -1).astype(np.float32))
