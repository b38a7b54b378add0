"""The workbench of a model over several GPUs: one `Workbench` per rank, called together.

Stages that use the model run on every rank. Rank 0 alone answers the rest. Each result is that of rank 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from autophage.data.build import read_source
from autophage.host.devices import device_memory
from autophage.recipe.arms import expand
from autophage.recipe.schema import Recipe
from autophage.stages.canary import Canary
from autophage.stages.fitting import Fitting
from autophage.stages.layout import keeps_whole
from autophage.stages.measuring import MeasureStage
from autophage.stages.prompting import Prompting
from autophage.stages.workbench import Workbench
from autophage.trainer.group import Group
from autophage.trainer.ranks import Ranks
from autophage.trainer.resident import ResidentModel
from autophage.trainer.sharded import ShardedModel

P = ParamSpec("P")
T = TypeVar("T")


def on_every_rank(name: str, _typed_as: Callable[Concatenate[Any, P], T]) -> Callable[Concatenate[ShardedBench, P], T]:
    """Return a method that calls `Workbench.NAME` on every rank and returns rank 0's answer.

    The second argument gives its signature.
    """

    def call(bench: ShardedBench, /, *args: P.args, **kwargs: P.kwargs) -> T:
        answer: T = bench.group.call(name, *args, **kwargs)
        return answer

    return call


def on_rank_0(name: str, _typed_as: Callable[Concatenate[Any, P], T]) -> Callable[Concatenate[ShardedBench, P], T]:
    """Return a method that calls `Workbench.NAME` on rank 0 alone. The second argument gives its signature."""

    def call(bench: ShardedBench, /, *args: P.args, **kwargs: P.kwargs) -> T:
        answer: T = getattr(bench.group.own, name)(*args, **kwargs)
        return answer

    return call


class ShardedBench:
    """The methods of `Workbench` over the ranks of one machine."""

    def __init__(self, recipe: Recipe, model_path: str, ranks: int, gpus: Sequence[str], log: Path) -> None:
        """Load the model at `model_path` over `ranks` ranks: this process and `ranks` - 1 new ones.

        Args:
            gpus: Ids from `trainer.group.keep_first_gpu`; none on a CPU.
            log: This process's log. Other ranks write theirs beside it.
        """
        self.group = Group(partial(_make, recipe.model_dump_json(), model_path, log.parent), ranks, gpus, log)

    base_weights = on_every_rank("base_weights", Workbench.base_weights)
    fit = on_every_rank("fit", Fitting.fit)
    check_canary = on_every_rank("check_canary", Canary.check)
    measure = on_every_rank("measure", MeasureStage.measure)
    engine_settings = on_rank_0("engine_settings", Workbench.engine_settings)
    requests = on_rank_0("requests", Prompting.requests)
    decoding = on_rank_0("decoding", Prompting.decoding)
    notes = on_rank_0("notes", Workbench.notes)

    def light(self) -> None:
        """No speed of light: the products of a rank are a part of the model's."""

    @property
    def resident(self) -> ResidentModel:
        """Rank 0's part of the model, for its facts. Computing with it takes every rank."""
        own: Workbench = self.group.own
        return own.resident

    @property
    def canary_prompts(self) -> list[list[int]]:
        """Prompts of the canary, each as token ids."""
        own: Workbench = self.group.own
        return own.canary_prompts

    def close(self) -> None:
        """End the processes of the other ranks."""
        self.group.close()


def _make(recipe: str, model_path: str, logs: Path, ranks: Ranks) -> Workbench:
    """Construct the workbench of one rank. Each rank reads the source, and keeps its own share of a broken batch."""
    loaded = Recipe.model_validate_json(recipe)
    inspection = logs / f"rank-{ranks.rank}" if ranks.rank else logs
    model = ShardedModel(model_path, loaded, ranks, whole=_whole(loaded, model_path, ranks))
    return Workbench(loaded, read_source(loaded), model_path, model, inspection)


def _whole(recipe: Recipe, model_path: str, ranks: Ranks) -> bool:
    """Return True if every rank is to hold the whole model. All ranks return the same."""
    from transformers import AutoConfig

    if ranks.device.type != "cuda":
        return False
    try:
        config = AutoConfig.from_pretrained(model_path, trust_remote_code=False).to_dict()
    except (OSError, ValueError):  # loading the model reports the fault
        config = {}
    return all(ranks.gather(keeps_whole(recipe, config, expand(recipe), device_memory())))
