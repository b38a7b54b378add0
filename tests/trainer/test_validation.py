"""Choice of the epoch with the least held-out loss."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from autophage.errors import UserError
from autophage.progress import Meter
from autophage.recipe import load_recipe
from autophage.recipe.arms import Arm
from autophage.recipe.schema import Recipe
from autophage.stages.workbench import Workbench
from autophage.trainer.validation import BestEpoch

pytestmark = pytest.mark.thorough


def recipe_with(*settings: str) -> Recipe:
    return load_recipe("smoke", ["base.tokens=30_000", "sweep={}", "control.enabled=false", *settings]).recipe


def test_the_best_epoch_is_kept(workbench: Callable[[Recipe], Workbench], monkeypatch: pytest.MonkeyPatch) -> None:
    """A high rate on few rows overfits, so an earlier epoch has the least held-out loss."""
    from autophage.recipe.arms import expand

    recipe = recipe_with("mix.alpha=0.0", "sample.count=16", "train.epochs=12.0", "train.learning_rate=2e-2",
                         "train.schedule=constant", "train.keep=best", "measure.documents=8")  # fmt: skip
    bench = workbench(recipe)
    (arm,) = expand(recipe)
    seen: list[tuple[float, str]] = []
    look = BestEpoch.step_ended

    def note(best: BestEpoch, step: int, steps: int) -> None:
        look(best, step, steps)
        model = bench.resident.live.take()
        if not seen or seen[-1][1] != model.digest:
            scored = bench.resident.score(best._sequences, best._contexts)
            seen.append((-float(np.concatenate([one.logprob for one in scored]).mean(dtype=np.float64)), model.digest))

    monkeypatch.setattr(BestEpoch, "step_ended", note)
    trained = bench.fit(arm, 1, bench.base_weights(arm), {0: []}, Meter())
    losses = [loss for loss, _ in seen]
    assert trained.weights.digest == min(seen)[1]
    assert min(losses) < losses[-1], "nothing was overfitted, so the test shows nothing"


def test_measured_documents_are_not_validated_on(workbench: Callable[[Recipe], Workbench]) -> None:
    recipe = recipe_with("train.keep=best", "measure.documents=8")
    bench = workbench(recipe)
    greedy = recipe.model_copy(update={"measure": recipe.measure.model_copy(update={"documents": 1000})})
    with pytest.raises(UserError, match="all 20 are"):
        bench.engine_settings([Arm("all", greedy, {}, control=False)])
