"""Interface of a learner: human rows, fit, own rows, metrics, and rows to and from disk.

A row is one sample. The parameters of a fitted learner are named arrays. They go to disk as safetensors and come back
bitwise equal, so a resumed chain continues from the same numbers. Every method is a function of its arguments.
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
        """Meaning of the arrays and the rows, stored beside the parameters as `learner.json`."""
        ...

    @property
    def digest(self) -> str:
        """Name of the human data. Equal digests mean equal rows."""
        ...

    @property
    def device(self) -> str:
        """`cpu`, or the name of the GPU that fits."""
        ...

    def human(self, draw: int, count: int) -> list[R]:
        """Return `count` human rows of the draw with seed `draw`."""
        ...

    def fit(self, rows: Sequence[R], seed: int, previous: Parameters | None, meter: Meter) -> Parameters:
        """Fit the learner to `rows`.

        `previous` is the model before, which a cumulative chain starts from. It is None for model 0.
        """
        ...

    def draw(self, state: Parameters, count: int, seed: int) -> list[R]:
        """Return `count` rows drawn from the fitted learner."""
        ...

    def measure(
        self, generation: int, state: Parameters, base: Parameters, rows: Sequence[R], seed: int
    ) -> list[Metric]:
        """Return the metrics of model `generation` and its drawn rows. `base` is model 0 of the arm."""
        ...

    def pack(self, state: Parameters, rows: Sequence[R], sample_ids: list[str], seed: int) -> list[Sample] | Numbers:
        """Return the drawn rows in the form of the store."""
        ...

    def unpack(self, shards: Sequence[Path]) -> list[R]:
        """Return the rows of a committed corpus, equal to the drawn ones."""
        ...


class NumericLearner:
    """A learner whose rows are float32 arrays [width]. It runs on the CPU unless a subclass sets `device`."""

    device = "cpu"

    def pack(self, state: Parameters, rows: Sequence[np.ndarray], sample_ids: list[str], seed: int) -> Numbers:
        return Numbers(sample_ids, np.stack(rows), seed)

    def unpack(self, shards: Sequence[Path]) -> list[np.ndarray]:
        return list(read_numbers(shards))


def constant_synthetic(recipe: Recipe) -> int | None:
    """Return the number of synthetic rows in every mix, or None under a schedule.

    Schedules have no known closed form.
    """
    return synthetic_count(recipe, 0) if recipe.mix.schedule == "constant" else None


def mean_metric(name: str, values: np.ndarray) -> Metric:
    """Return the mean over independent chains [repetitions] with Student's interval."""
    return Metric(name, float(values.mean()), *mean_interval(values), len(values))


def rows_of(values: np.ndarray) -> list[np.ndarray]:
    """Return [rows, ...] as float32 rows, the precision of the store. A resumed fit then sees equal numbers."""
    return list(values.reshape(len(values), -1).astype(np.float32))
