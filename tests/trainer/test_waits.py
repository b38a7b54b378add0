"""The host waits for the device once in a training step, for the check that comes before the optimizer step."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from autophage.data.build import bind, read_source
from autophage.data.mix import TrainingRow
from autophage.progress import Meter
from autophage.recipe.schema import Recipe
from autophage.recipe.tables.anchor import AnchorTable
from autophage.recipe.tables.model import BaseTable, ModelTable
from autophage.recipe.tables.source import SourceTable
from autophage.recipe.tables.train import TrainTable
from autophage.trainer import scoring, sft
from autophage.trainer.base_model import ensure_base_model
from autophage.trainer.fit import FitRequest
from autophage.trainer.micro_batches import collate
from autophage.trainer.passes import budget, passes
from autophage.trainer.resident import ResidentModel
from autophage.trainer.rows import without_mask

pytestmark = pytest.mark.thorough

IN_A_STEP = 2
"""One wait is for loss and norm of the gradient. transformers reads the positions once a pass, to find documents."""
READS = ("tolist", "item", "cpu")
"""Methods of a tensor that copy from the device. Those of `OPERATORS` reach a dispatcher, these need not."""
OPERATORS = ("aten::nonzero", "aten::_local_scalar_dense", "aten::masked_select", "aten::is_nonzero")

RECIPE = Recipe(
    name="t",
    model=ModelTable(rank=4),
    base=BaseTable(hidden_size=64, layers=2, heads=2, tokens=20_000),
    source=SourceTable(people=12, held_out_documents=8),
    train=TrainTable(batch_size=4, learning_rate=1e-3),
)


class Waits:
    """Counts what would make the host wait for a device, were the tensors on one."""

    def __init__(self) -> None:
        self.found: Counter[str] = Counter()
        self.paused = False

    def add(self, name: str) -> None:
        if not self.paused:
            self.found[name] += 1

    @contextmanager
    def counted(self) -> Iterator[None]:
        waits = self

        class Dispatched(TorchDispatchMode):
            def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                name = func.name().split(".")[0]
                bools = name in ("aten::index", "aten::index_put_", "aten::_index_put_impl_") and any(
                    one is not None and one.dtype is torch.bool for one in args[1]
                )
                if name in OPERATORS or bools:
                    waits.add(name)
                return func(*args, **(kwargs or {}))

        class Called(TorchFunctionMode):
            def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                name = getattr(func, "__name__", "")
                before = sum(waits.found.values())
                result = func(*args, **(kwargs or {}))
                if name in READS and sum(waits.found.values()) == before:
                    waits.add(name)
                return result

        with Called(), Dispatched():  # type: ignore[no-untyped-call]
            yield

    def host(self, function: Any) -> Any:
        """Return a function whose work is on the host, and does not count."""

        def uncounted(*args: Any, **kwargs: Any) -> Any:
            self.paused, before = True, self.paused
            try:
                return function(*args, **kwargs)
            finally:
                self.paused = before

        return uncounted


@pytest.fixture(scope="module")
def resident(tmp_path_factory: pytest.TempPathFactory) -> ResidentModel:
    patch = pytest.MonkeyPatch()
    patch.setenv("AUTOPHAGE_CACHE", str(tmp_path_factory.mktemp("cache")))
    path = ensure_base_model(RECIPE, read_source(RECIPE), Meter())
    patch.undo()
    return ResidentModel(str(path), RECIPE)


@pytest.fixture(scope="module")
def rows(resident: ResidentModel) -> list[TrainingRow]:
    source = bind(read_source(RECIPE), resident.tokenizer, RECIPE)
    return [TrainingRow(item.prompt_ids + item.continuation_ids, 1) for item in source.items(5, 32)]


def test_the_counter_sees_every_kind_of_wait() -> None:
    waits, values = Waits(), torch.arange(4.0)
    with waits.counted():
        for wait in (
            lambda: values[values > 1],
            lambda: bool((values > 1).all()),
            lambda: float(values[0]),
            lambda: values.tolist(),
            lambda: (values > 1).nonzero(),
            lambda: values.cpu(),
            lambda: values.masked_select(values > 1),
        ):
            before = sum(waits.found.values())
            wait()
            assert sum(waits.found.values()) > before
        before = sum(waits.found.values())
        values.index_select(0, torch.tensor([1])).sum()
        assert sum(waits.found.values()) == before


def as_on_a_gpu(inputs: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in inputs.items() if name != "attention_mask"}


@pytest.mark.parametrize("packing", ["padded", "padding-free"])
@pytest.mark.parametrize("kind", ["plain", "weighted", "anchored"])
def test_a_step_waits_no_more_often_than_stated(
    resident: ResidentModel, rows: list[TrainingRow], packing: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = RECIPE.model_copy(update={"train": RECIPE.train.model_copy(update={"packing": packing})})
    passes = 1
    if kind == "weighted":
        rows = [replace(row, weight=1.0 + index % 3) for index, row in enumerate(rows)]
    if kind == "anchored":
        recipe, passes = recipe.model_copy(update={"anchor": AnchorTable(kl=0.1)}), 2

    def waits_of(steps: int) -> Counter[str]:
        waits = Waits()
        monkeypatch.setattr(sft, "collate", waits.host(collate))
        monkeypatch.setattr(sft, "without_mask", as_on_a_gpu)
        request = FitRequest(resident.base_weights(), rows[: 4 * steps], recipe, 3)
        with waits.counted():
            assert len(resident.fit(request).steps) == steps
        return waits.found

    few, many = waits_of(2), waits_of(8)
    each = {name: (many[name] - few[name]) / 6 for name in many}
    assert 0 < sum(each.values()) <= IN_A_STEP + passes - 1, each


@pytest.mark.gpu
def test_cuda_sees_no_more(resident: ResidentModel, rows: list[TrainingRow]) -> None:
    def waits_of(steps: int) -> int:
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as found:
                warnings.simplefilter("always")
                resident.fit(FitRequest(resident.base_weights(), rows[: 4 * steps], RECIPE, 3))
        finally:
            torch.cuda.set_sync_debug_mode("default")
        return sum("synchroniz" in str(one.message) for one in found)

    waits_of(2)  # kernels are compiled
    assert (waits_of(8) - waits_of(2)) / 6 <= IN_A_STEP


def test_a_pass_returns_in_one_transfer(
    resident: ResidentModel, rows: list[TrainingRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = Waits()
    monkeypatch.setattr(scoring, "scored_rows", waits.host(scoring.scored_rows))
    sequences, contexts = [row.token_ids for row in rows], [1] * len(rows)
    with waits.counted():
        resident.score(sequences, contexts)
    assert waits.found == {"cpu": len(list(passes(sequences, contexts, budget(resident.head))))}


def test_no_mask_is_needed_to_the_right(resident: ResidentModel, rows: list[TrainingRow]) -> None:
    """What a GPU computes without its mask is what a CPU computes with it."""
    ids_BL = torch.nn.utils.rnn.pad_sequence([torch.tensor(row.token_ids) for row in rows], batch_first=True)
    lengths = [len(row.token_ids) for row in rows]
    assert len(set(lengths)) > 3
    mask_BL = torch.tensor([[1] * length + [0] * (ids_BL.shape[1] - length) for length in lengths])
    with torch.no_grad():
        masked, bare = (
            resident.head.rows(inputs)
            for inputs in ({"input_ids": ids_BL, "attention_mask": mask_BL}, {"input_ids": ids_BL})
        )
    for row, length in enumerate(lengths):
        torch.testing.assert_close(bare[row, :length], masked[row, :length], atol=1e-5, rtol=1e-5)


def test_only_a_gpu_goes_without_the_mask() -> None:
    kept = {"input_ids": torch.zeros(1, 2), "attention_mask": torch.ones(1, 2)}
    assert without_mask(kept) == kept

    class OnGPU:
        device = torch.device("cuda")

    given: Any = {"input_ids": OnGPU(), "attention_mask": OnGPU()}
    assert without_mask(given).keys() == {"input_ids"}
