"""The request of a fit: its batches, and its way to another process."""

from __future__ import annotations

import pickle

from autophage.data.mix import TrainingRow
from autophage.progress import Meter, Progress
from autophage.recipe.schema import Recipe
from autophage.recipe.tables.train import TrainTable
from autophage.store.weights import Weights
from autophage.trainer.fit import FitRequest, Share

ROWS = [TrainingRow([0] * length, 1) for length in (2, 3, 4, 5, 6)]
RECIPE = Recipe(name="t", train=TrainTable(batch_size=2))


def test_every_row_is_in_one_step() -> None:
    request = FitRequest(Weights(b"", {}), ROWS, RECIPE, 1)
    assert [request.tokens(step) for step in (1, 2, 3)] == [5, 9, 6]
    assert request.whole == Share(ROWS, 2)


def test_another_process_counts_for_itself() -> None:
    seen: list[Progress] = []
    request = FitRequest(Weights(b"", {}), ROWS, RECIPE, 1, meter=Meter(seen.append, total=3))
    copy = pickle.loads(pickle.dumps(request))
    copy.meter.advance(tokens=5)
    assert (copy.rows, copy.recipe, copy.meter.progress) == (ROWS, RECIPE, Progress(1, 3, 5))
    assert (request.meter.progress, seen) == (Progress(0, 3), [])
