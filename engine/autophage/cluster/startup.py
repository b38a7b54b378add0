"""Brings placed actors to the first stage of a run: every trainer and every sampler loads the same model."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from autophage.cluster.calls import ActorLostError
from autophage.cluster.cell_actors import CellActors
from autophage.cluster.restart_budget import RestartBudget
from autophage.cluster.scheduler import Side
from autophage.errors import UserError
from autophage.plan.light import Light
from autophage.progress import Progress
from autophage.sampler.protocol import EngineSettings
from autophage.stages.facts import DECISIVE
from autophage.store.rundir import Emit

if TYPE_CHECKING:
    from ray import ObjectRef

T = TypeVar("T")


@dataclass(frozen=True)
class PreparedModel:
    """The model of a run as its first trainer has loaded it. Every later trainer must agree."""

    facts: Mapping[str, Any]
    """`stages.facts.model_facts`."""
    settings: EngineSettings
    canary_prompts: list[list[int]]
    light: Light | None = None
    """Time of the model's bare matrix products on the first trainer's device. None if it was not measured."""

    def changed(self, facts: Mapping[str, Any]) -> list[str]:
        """Return the names of the decisive facts that another trainer sees differently; none if it agrees."""
        return changed_facts(self.facts, facts)


def changed_facts(first: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Return the names of the decisive facts in which two trainers differ; none if they agree."""
    return [name for name in DECISIVE if other[name] != first.get(name)]


def prepare(cells: Sequence[CellActors], budget: RestartBudget, emit: Emit) -> PreparedModel:
    """Load the model in the actors of every cell. Return its facts and settings.

    If an actor dies, all are started again: none has anything to lose yet.

    Raises:
        ActorLostError: Actors died more often than `budget` allows.
        HungError: An actor did not get ready in time.
        UserError: The machines see different models or sources.
    """
    while True:
        try:
            return _prepare(cells, emit)
        except ActorLostError as lost:
            if not budget.take():
                raise
            budget.report(emit, ["every sampler and trainer"], lost)
            for actors in cells:
                for side in Side:
                    actors.replace(side)


def _prepare(cells: Sequence[CellActors], emit: Emit) -> PreparedModel:
    """Load the model in every trainer, then in every sampler. Return its facts and settings.

    The first trainer makes a base model that is missing.
    """
    first = cells[0]
    facts = _prepare_first(first, emit)
    for actors, preparing in [(actors, actors.trainer.prepare()) for actors in cells[1:]]:
        theirs = _result(actors, Side.TRAINER, preparing)
        if changed := changed_facts(facts, theirs):
            raise UserError(
                f"{actors.name} sees another model or source than {first.name} ({', '.join(changed)} differ). "
                "Put model, source, questions and AUTOPHAGE_CACHE on storage that all machines share."
            )
    settings = _result(first, Side.TRAINER, first.trainer.engine_settings())
    if (light := _result(first, Side.TRAINER, first.trainer.light())) is not None:
        emit("light", **light.facts())
    for actors, starting in [(actors, actors.sampler.start(settings)) for actors in cells]:
        _result(actors, Side.SAMPLER, starting)
    layout = f"; {facts['layout']}" if facts.get("layout") else ""
    emit("note", text=f"model with {facts['parameters']:,} parameters on {facts['device']}{layout}")
    return PreparedModel(facts, settings, _result(first, Side.TRAINER, first.trainer.canary_prompts()), light)


def _prepare_first(actors: CellActors, emit: Emit) -> dict[str, Any]:
    """Load the model in the first trainer and return its facts. A base model in training reports its progress.

    Raises:
        HungError: There was neither progress nor a result within the deadline of a call.
    """
    import ray

    trainer, patience = actors.of(Side.TRAINER), actors.deadlines.call
    preparing = actors.trainer.prepare()
    progress: Progress | None = None
    moved = time.monotonic()
    while not ray.wait([preparing], timeout=0.5)[0]:
        before, progress = progress, trainer.latest_progress("base", progress)
        if progress != before:
            moved = time.monotonic()
        elif time.monotonic() - moved > patience:
            raise trainer.hung(f"made no progress for {patience:.0f} s while it prepared its model")
        if progress is not None and progress.done:
            emit("base-progress", done=progress.done, total=progress.total, loss=round(progress.loss, 4))
    return trainer.get(preparing, patience)


def _result(actors: CellActors, side: Side, reference: ObjectRef[T]) -> T:
    """Wait for the result of a call on a side's actor, and return it.

    An engine that dies before the first stage ends the run: it would die again.
    """
    return actors.of(side).get(reference, actors.deadlines.call)
