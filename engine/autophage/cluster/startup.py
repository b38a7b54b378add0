"""From actors that were placed to actors that have their model: what comes before the first stage of a run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from autophage.cluster.calls import Actor, ActorLostError, hung, latest_progress
from autophage.cluster.deadlines import Deadlines
from autophage.cluster.making import Begun
from autophage.cluster.placement import Actors
from autophage.cluster.restarts import Restarts
from autophage.cluster.scheduler import Side
from autophage.errors import UserError
from autophage.stages.facts import DECISIVE
from autophage.store.rundir import Emit


def prepared(cells: Sequence[Actors], budget: Restarts, deadlines: Deadlines, emit: Emit) -> Begun:
    """Load the model everywhere; where an actor dies meanwhile, all are started again: none has anything to lose yet.

    Raises:
        ActorLostError: actors died more often than `budget` allows.
        HungError: one did not get ready.
        UserError: the machines do not see the same model and source.
    """
    while True:
        try:
            return _prepare(cells, deadlines, emit)
        except ActorLostError as lost:
            if not budget.take():
                raise
            budget.tell(emit, ["every sampler and trainer"], lost)
            for actors in cells:
                for side in Side:
                    actors.replace(side)


def _prepare(cells: Sequence[Actors], deadlines: Deadlines, emit: Emit) -> Begun:
    """Load the model in every trainer, then start the samplers on it. The first trainer makes it, where there is none yet."""
    first = cells[0]
    facts: dict[str, Any] = _prepare_first(first.trainer, deadlines, emit)
    others = [(actors, actors.trainer.handle.prepare.remote()) for actors in cells[1:]]
    for actors, preparing in others:
        theirs = actors.trainer.get(preparing, deadlines.call)
        if changed := [name for name in DECISIVE if theirs[name] != facts[name]]:
            raise UserError(
                f"{actors.name} sees another model or source than {first.name} ({', '.join(changed)} differ). "
                "Put model, source, questions and AUTOPHAGE_CACHE on storage that all machines share."
            )
    trainer = first.trainer
    settings = trainer.get(trainer.handle.engine_settings.remote(), deadlines.call)
    for actors, starting in [(actors, actors.sampler.handle.start.remote(settings)) for actors in cells]:
        actors.sampler.get(starting, deadlines.call)
    emit("note", text=f"model with {facts['parameters']:,} parameters on {facts['device']}")
    return Begun(facts, settings, trainer.get(trainer.handle.canary_prompts.remote(), deadlines.call))


def _prepare_first(trainer: Actor, deadlines: Deadlines, emit: Emit) -> Any:
    """What it says of the model; how far it is with training one is told meanwhile.

    Raises:
        HungError: neither came for as long as a call may take.
    """
    import ray

    preparing = trainer.handle.prepare.remote()
    progress, moved = None, time.monotonic()
    while not ray.wait([preparing], timeout=0.5)[0]:
        before, progress = progress, latest_progress(trainer, "base", progress)
        if progress != before:
            moved = time.monotonic()
        elif time.monotonic() - moved > deadlines.call:
            raise hung(trainer, f"made no progress for {deadlines.call:.0f} s while it got its model ready")
        if progress is not None and progress.total:
            emit("base-progress", done=progress.done, total=progress.total, loss=round(progress.loss, 4))
    return trainer.get(preparing, deadlines.call)
