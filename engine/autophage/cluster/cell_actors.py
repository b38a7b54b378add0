"""The two actors of a cell: calls on them, their loss and their replacement.

Knows neither the stages that run on them nor the restart budget.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from autophage.cluster.calls import Actor, ActorLostError, lost
from autophage.cluster.clients import SamplerClient, TrainerClient
from autophage.cluster.deadlines import Deadlines
from autophage.cluster.scheduler import Side, Stage, Work
from autophage.errors import EngineDeadError

if TYPE_CHECKING:
    from ray import ObjectRef

T = TypeVar("T")


class CellActors:
    """The sampler and the trainer of a cell. `name` is the cell's, and empty in a run of one cell."""

    def __init__(self, name: str, start: Callable[[Side], Actor], deadlines: Deadlines) -> None:
        """Start both actors.

        Args:
            start: Starts the actor of a side in its place, which must be free.
        """
        self.name = name
        self.deadlines = deadlines
        self._start = start
        self._of = {side: start(side) for side in (Side.TRAINER, Side.SAMPLER)}
        self._nodes: dict[Side, str] = {}
        self._replaced: set[str] = set()

    @property
    def sampler(self) -> SamplerClient:
        return SamplerClient(self._of[Side.SAMPLER].handle)

    @property
    def trainer(self) -> TrainerClient:
        return TrainerClient(self._of[Side.TRAINER].handle)

    def of(self, side: Side) -> Actor:
        """Return the actor of a side."""
        return self._of[side]

    def side_at(self, work: Work) -> Side:
        """Return the side whose actor returns the result of this stage."""
        return Side.SAMPLER if work.stage is Stage.SAMPLE else Side.TRAINER

    def get(
        self, reference: ObjectRef[T], side: Side, seconds: float | None = None, otherwise: str = "did not answer"
    ) -> T:
        """Wait for the result of a call on a side's actor and return it, as `Actor.get` does.

        Args:
            seconds: Longest wait. None is the deadline of a call that reports no progress.

        Raises:
            ActorLostError: It names the actor that died, also where the other one waited for its result.
        """
        actor = self._of[side]
        try:
            return actor.get(reference, self.deadlines.call if seconds is None else seconds, otherwise)
        except EngineDeadError as dead:  # the sampler's, also where the trainer waited for the sampler's result
            sampler = self._of[Side.SAMPLER]
            raise ActorLostError(
                f"the {sampler.name}'s engine is dead: {dead}. Its log: {sampler.log}.", sampler.id
            ) from dead
        except ActorLostError as gone:
            for other in self._of.values():
                if gone.actor_id == other.id != actor.id:
                    raise lost(other, gone.cause) from gone
            raise

    def sides_of(self, gone: ActorLostError) -> frozenset[Side]:
        """Return the side whose actor was lost. Both sides where Ray names none, none where it is replaced already."""
        if gone.actor_id in self._replaced:
            return frozenset()
        found = frozenset(side for side, actor in self._of.items() if actor.id == gone.actor_id)
        return found or frozenset(Side)

    def replace(self, side: Side) -> None:
        """Kill the actor of a side and start another in its place."""
        self._locate()
        self._replaced.add(self._of[side].id)
        self._of[side].kill()
        self._of[side] = self._start(side)

    def lost_machine(self) -> bool:
        """Return True if the cluster has lost a machine that one of these actors was on."""
        self._locate()
        return not machines().issuperset(self._nodes.values())

    def _locate(self) -> None:
        for side, actor in self._of.items():
            if (where := actor.where()) is not None:
                self._nodes[side] = where[0]


def machines() -> set[str]:
    """Return Ray's ids of the machines that are up. A private Ray has none once its raylet is dead."""
    import ray

    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}
