"""A cell: one sampler and one trainer, and the generations that they are making.

Wires the parts of a cell together; each part has its own module. Does not know which stage is next (`scheduler`), what
other cells do or how a generation is committed (`commits`).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from autophage.cluster.calls import ActorLostError
from autophage.cluster.cell_actors import CellActors
from autophage.cluster.early import EarlyDocuments
from autophage.cluster.launch import Launcher
from autophage.cluster.models_in_store import ModelsInStore
from autophage.cluster.partial import PartialGeneration, PartialGenerations, ended
from autophage.cluster.replacements import Replacements, Starting
from autophage.cluster.results import Finished, StageResults
from autophage.cluster.scheduler import Side, Stage, Work
from autophage.cluster.served_models import ServedModels
from autophage.cluster.startup import PreparedModel
from autophage.cluster.watch import Running, Seen, Watchdog
from autophage.recipe.arms import Arm
from autophage.store.fault_points import reach
from autophage.store.rundir import RunDirectory
from autophage.store.weights import Weights

if TYPE_CHECKING:
    from ray import ObjectRef


class Cell:
    """One sampler and one trainer, with the stages that run on them."""

    def __init__(
        self,
        actors: CellActors,
        run: RunDirectory,
        arms: Mapping[str, Arm],
        cohorts: Sequence[Sequence[str]],
        model: PreparedModel,
    ) -> None:
        self.name = actors.name
        self.running: dict[ObjectRef[Any], Running] = {}
        """The running stages, by the reference to the stage's result."""
        self._actors = actors
        self._partials = PartialGenerations()
        self._early = EarlyDocuments(actors, arms)
        self._models = ModelsInStore(run)
        self._served = ServedModels(actors, self._models, model.canary_prompts)
        self._launcher = Launcher(actors, run, arms, cohorts, self._partials, self._models, self._served, self._early)
        self._results = StageResults(actors, arms, self._partials, self._served, self._early, model.light)
        self._watchdog = Watchdog(actors, self._partials)
        self._replacements = Replacements(actors, model)

    @property
    def starting(self) -> Mapping[ObjectRef[Any], Starting]:
        """Lost actors that start again, by the reference that is ready once the actor is."""
        return self._replacements.starting

    @property
    def works(self) -> list[Work]:
        """The stages that run in this cell."""
        return [running.work for running in self.running.values()]

    def actor_name(self, side: Side) -> str:
        """Return the name of a side's actor for messages, with its article."""
        return f"the {self._actors.of(side).name}"

    def lost_machine(self) -> bool:
        """Return True if the cluster has lost a machine that this cell was on."""
        return self._actors.lost_machine()

    def sides_of(self, gone: ActorLostError) -> frozenset[Side]:
        """Return the side whose actor was lost. Both sides where Ray names none, none where it is replaced already."""
        return self._actors.sides_of(gone)

    def start(self, works: Sequence[Work]) -> None:
        """Start these stages, none of which is a commit. Those of stage SAMPLE make one batch."""
        now = time.monotonic()
        for work in works:
            reach("call", work)
            if work.stage is not Stage.SAMPLE:
                self.running[self._launcher.launch(work)] = Running(work, now, now)
        if sampling := [work for work in works if work.stage is Stage.SAMPLE]:
            for work, reference in zip(sampling, self._launcher.sample(sampling), strict=True):
                self.running[reference] = Running(work, now, now)

    def finish(self, reference: ObjectRef[Any]) -> Finished:
        """Take the result of a stage that has ended, and return the stage's duration and tokens.

        Raises as `StageResults.take` does.
        """
        return self._results.take(self.running.pop(reference), reference)

    def take(self, work: Work) -> tuple[PartialGeneration, Weights, bytes | None]:
        """Return a finished generation for its commit, with copies of its weights and optimizer state.

        The cell forgets the generation. The driver holds these copies for the commit alone.

        Raises:
            ActorLostError: The weights were lost with their machine.
        """
        partial = self._partials.of(work)
        weights = self._actors.get(ended(partial.weights), Side.TRAINER)
        optimizer = None if partial.optimizer is None else self._actors.get(partial.optimizer, Side.TRAINER)
        self._models.keep(work, partial)
        self._early.end(work)
        return self._partials.pop(work), weights, optimizer

    def look(self) -> list[Seen]:
        """Return the progress of the stages that have moved since the last look; none if none has.

        Raises:
            HungError: A stage hangs, or a lost actor does not come up again.
        """
        seen = []
        for running in self.running.values():
            self._early.relay(running.work)
            if (moved := self._watchdog.look(running, self.works)) is not None:
                seen.append(moved)
        self._replacements.require_in_time()
        return seen

    def lose(self, sides: frozenset[Side], gone: Iterable[Work]) -> None:
        """Start the actors of `sides` again, and drop the stages `gone` that were lost with them."""
        works = set(gone)
        self.running = {reference: one for reference, one in self.running.items() if one.work not in works}
        self._replacements.replace(sides)
        for work in works:
            self._early.end(work.previous)
        for work in works:
            self._served.abandon(work, self._partials.find(work), sampler_lost=Side.SAMPLER in sides)

    def regain(self, reference: ObjectRef[Any]) -> Side:
        """Return the side whose actor is up again, from the reference in `starting`.

        Raises as `Replacements.finish` does.
        """
        return self._replacements.finish(reference)
