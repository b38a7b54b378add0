"""Actors of a cell that were lost and are starting again.

A new process loads the same model as the first. The driver decides whether a process is started, and the
scheduler which stages are repeated.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autophage.cluster.cell_actors import CellActors
from autophage.cluster.scheduler import Side
from autophage.cluster.startup import PreparedModel
from autophage.errors import UserError

if TYPE_CHECKING:
    from ray import ObjectRef


@dataclass(frozen=True)
class Starting:
    """A lost actor that starts again. `since` is of the monotonic clock, in seconds."""

    side: Side
    since: float


class Replacements:
    """The lost actors of a cell that start again."""

    def __init__(self, actors: CellActors, model: PreparedModel) -> None:
        self.starting: dict[ObjectRef[Any], Starting] = {}
        """Actors that start again, by the reference that is ready once the actor is."""
        self._actors, self._model = actors, model

    def replace(self, sides: Iterable[Side]) -> None:
        """Kill the actors of these sides and start others in their places."""
        sides = frozenset(sides)
        self.starting = {reference: one for reference, one in self.starting.items() if one.side not in sides}
        for side in sides:
            self._actors.replace(side)
            up: ObjectRef[Any] = (
                self._actors.trainer.prepare()
                if side is Side.TRAINER
                else self._actors.sampler.start(self._model.settings)
            )
            self.starting[up] = Starting(side, time.monotonic())

    def finish(self, reference: ObjectRef[Any]) -> Side:
        """Return the side whose actor is up again, from its reference in `starting`.

        Raises:
            UserError: The trainer found another model or source than the run began with.
        """
        side = self.starting.pop(reference).side
        facts = self._actors.get(reference, side)
        if side is Side.TRAINER and (changed := self._model.changed(facts)):
            raise UserError(
                f"the {self._actors.of(side).name} restarted and found another model or source than before "
                f"({', '.join(changed)} differ). Restore the old files; the same command resumes after the last commit."
            )
        return side

    def require_in_time(self) -> None:
        """Give up an actor that is not up within the deadline of a call.

        Raises:
            HungError: It names the actor.
        """
        seconds = self._actors.deadlines.call
        for starting in self.starting.values():
            if time.monotonic() - starting.since > seconds:
                raise self._actors.of(starting.side).hung(f"did not start within {seconds:.0f} s")
