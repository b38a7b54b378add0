"""Interface of a learner: human rows, fit, own rows, metrics, and rows to and from disk.

A row is one sample. The parameters of a fitted learner are named arrays. They go to disk as safetensors and come back
bitwise equal. A resumed chain therefore continues from the same numbers. Every method is a function of its arguments.
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
    """A small model in place of a language model, bound to one arm's recipe. Its samples are rows of type `R`."""

    @property
    def config(self) -> dict[str, Any]:
        """Settings of the learner and meaning of its arrays and rows. The store keeps them as `learner.json`."""
        ...

    @property
    def digest(self) -> str:
        """Name or hash of the human data. Equal digests mean equal human rows for equal seeds."""
        ...

    @property
    def device(self) -> str:
        """Device of the fit: `cpu`, or the name of the GPU."""
        ...

    def human(self, draw: int, count: int) -> list[R]:
        """Return `count` rows of human data, drawn with the seed `draw`."""
        ...

    def fit(self, rows: Sequence[R], seed: int, previous: Parameters | None, meter: Meter) -> Parameters:
        """Fit a new model to `rows` and return its parameters as named arrays.

        `previous` is the model before, which a cumulative chain starts from. It is None for model 0. `seed` decides
        random choices. `meter` receives progress.
        """
        ...

    def draw(self, state: Parameters, count: int, seed: int) -> list[R]:
        """Return `count` rows drawn with `seed` from the model with the parameters `state`."""
        ...

    def measure(
        self, generation: int, state: Parameters, base: Parameters, rows: Sequence[R], seed: int
    ) -> list[Metric]:
        """Return the metrics of model `generation`, which has the parameters `state` and drew `rows`.

        `base` are the parameters of the arm's model 0. `seed` decides resampling.
        """
        ...

    def pack(self, state: Parameters, rows: Sequence[R], sample_ids: list[str], seed: int) -> list[Sample] | Numbers:
        """Return `rows`, drawn from the model `state` with `seed`, in the form that the store writes to disk."""
        ...

    def unpack(self, shards: Sequence[Path]) -> list[R]:
        """Read the rows of a committed corpus from its files `shards`. They equal the drawn ones."""
        ...


class NumericLearner:
    """Base class of learners whose rows are float32 arrays `[width]`.

    `device` is "cpu" unless a subclass sets it.
    """

    device = "cpu"

    def pack(self, state: Parameters, rows: Sequence[np.ndarray], sample_ids: list[str], seed: int) -> Numbers:
        return Numbers(sample_ids, np.stack(rows), seed)

    def unpack(self, shards: Sequence[Path]) -> list[np.ndarray]:
        return list(read_numbers(shards))


def constant_synthetic(recipe: Recipe) -> int | None:
    """Return the number of synthetic rows in the mix of every generation, or None if `mix.schedule` varies it.

    Closed forms are known for a constant number only.
    """
    return synthetic_count(recipe, 0) if recipe.mix.schedule == "constant" else None


def mean_metric(name: str, values: np.ndarray) -> Metric:
    """Return a metric: the mean of `values` `[repetitions]` over independent chains, with Student's interval."""
    return Metric(name, float(values.mean()), *mean_interval(values), len(values))


def rows_of(values: np.ndarray) -> list[np.ndarray]:
    """Return `values` `[rows, ...]` as a list of flat float32 rows.

    The store has the same precision. A resumed fit therefore sees equal numbers.
    """
    return list(values.reshape(len(values), -1).astype(np.float32))
