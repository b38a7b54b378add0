"""The bytes that full training holds, next to those that `plan` counts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import torch

from autophage.data.build import bind, read_source
from autophage.data.mix import TrainingRow
from autophage.plan.memory import Demand, trainer_bytes
from autophage.plan.shape import configured_shape
from autophage.progress import Meter
from autophage.recipe.schema import Recipe
from autophage.recipe.tables.model import BaseTable, ModelTable
from autophage.recipe.tables.source import SourceTable
from autophage.recipe.tables.train import TrainTable
from autophage.trainer.base_model import ensure_base_model
from autophage.trainer.fit import FitRequest
from autophage.trainer.resident import ResidentModel
from autophage.trainer.sft import WatchedTrainer

pytestmark = pytest.mark.thorough


def bytes_of(tensors: Iterable[torch.Tensor]) -> int:
    """Bytes of the storages, each counted once."""
    return sum({one.untyped_storage().data_ptr(): one.untyped_storage().nbytes() for one in tensors}.values())


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_a_full_fit_holds_what_the_plan_counts(
    dtype: str, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    recipe = Recipe(
        name="t",
        model=ModelTable(method="full", dtype=dtype),  # type: ignore[arg-type]
        base=BaseTable(hidden_size=128, layers=2, heads=2, tokens=2_000),
        source=SourceTable(people=12, held_out_documents=8),
        train=TrainTable(batch_size=8, learning_rate=1e-3),
    )
    monkeypatch.setenv("AUTOPHAGE_CACHE", str(tmp_path_factory.mktemp("cache")))
    resident = ResidentModel(str(ensure_base_model(recipe, read_source(recipe), Meter())), recipe)
    source = bind(read_source(recipe), resident.tokenizer, recipe)
    rows = [TrainingRow(item.prompt_ids + item.continuation_ids, 1) for item in source.items(5, 8)]
    held: dict[str, int] = {}

    class Counting(WatchedTrainer):
        def training_step(self, model: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
            saved: list[torch.Tensor] = []

            def keep(tensor: torch.Tensor) -> torch.Tensor:
                saved.append(tensor)
                return tensor

            with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                loss = super().training_step(model, *args, **kwargs)
            parameters = [*model.parameters()]
            shapes = {tuple(one.shape) for one in parameters} | {tuple(one.shape)[::-1] for one in parameters}
            copies = [
                one for one in saved if one.dtype is torch.bfloat16 and one.dim() == 2 and tuple(one.shape) in shapes
            ]
            held["copies"] = bytes_of(copies)
            held["gradients"] = bytes_of(one.grad for one in parameters if one.grad is not None)
            return loss

        def train(self, *args: Any, **kwargs: Any) -> Any:
            done = super().train(*args, **kwargs)
            assert self.optimizer is not None
            held["moments"] = bytes_of(
                state[name] for state in self.optimizer.state.values() for name in ("exp_avg", "exp_avg_sq")
            )
            return done

    monkeypatch.setattr("autophage.trainer.sft.WatchedTrainer", Counting)
    resident.fit(FitRequest(resident.base_weights(), rows, recipe, 3))
    shape = configured_shape(resident.config.to_dict())
    assert shape is not None
    width = torch.finfo(getattr(torch, dtype)).bits // 8
    planned = trainer_bytes(Demand(shape, 0, 0, 1, 64, 512, width=width, full=True))
    base, trained = bytes_of(resident._untrained.values()), bytes_of(resident.live.parameters.values())
    assert base == planned.weights
    assert trained + held["gradients"] + held["moments"] == planned.optimizer
    # Norms have no copy.
    assert held["copies"] == pytest.approx(planned.copies, rel=0.02)
    assert (planned.copies > 0) == (dtype == "bfloat16")
