"""The schedule of a whole run: a scheduler state for each cell, and the cell of each arm. Pure, without I/O or Ray.

Cells are known by name. The arms of a dropped cell continue in the other cells, after their last commits.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from autophage.cluster import scheduler
from autophage.cluster.scheduler import Done, Side, State, Work
from autophage.recipe.arms import Arm

Cohort: TypeAlias = Sequence[str]
"""Arms that are sampled together, by name."""
Todo: TypeAlias = list[Work]
"""Stages to start now, in order."""


class Lost(NamedTuple):
    """Consequences of a loss: sides that start again, stages that came to nothing, and stages to start now."""

    sides: frozenset[Side]
    gone: Todo
    todo: Todo


class Schedule:
    """The schedule of a run over its cells. Each cell has a state of its own."""

    def __init__(
        self,
        cells: Sequence[str],
        cohorts: Sequence[Cohort],
        arms: Mapping[str, Arm],
        generations: int,
        *,
        serial: bool,
        continuous: bool,
        streams: Iterable[str],
    ) -> None:
        self._cohorts, self._arms, self._generations = cohorts, arms, generations
        empty, _ = scheduler.begin((), {}, generations, serial=serial, continuous=continuous, streams=streams)
        self._states: dict[str, State] = dict.fromkeys(cells, empty)

    @property
    def cells(self) -> list[str]:
        """Names of the cells that have not been dropped."""
        return list(self._states)

    @property
    def complete(self) -> bool:
        """True once every generation is committed."""
        return all(state.complete for state in self._states.values())

    @property
    def finished(self) -> bool:
        """True once no stage is left to run. A schedule that drains begins no further generation."""
        return all(state.finished for state in self._states.values())

    @property
    def draining(self) -> bool:
        """True once the schedule begins no further generation."""
        return all(state.draining for state in self._states.values())

    def running(self, cell: str) -> frozenset[Work]:
        """Return the stages of a cell that were to be started and have not ended."""
        return self._states[cell].running

    def begin(self, committed: Mapping[str, int]) -> dict[str, Todo]:
        """Assign all arms to cells. Return the stages that each cell starts.

        `committed` has the number of committed generations of each arm.
        """
        return self._deal(self._cohorts, committed)

    def end(self, cell: str, event: Done) -> Todo:
        """Record that a stage has ended. Return the stages that the cell starts."""
        self._states[cell], todo = scheduler.step(self._states[cell], event)
        return todo

    def lose(self, cell: str, sides: frozenset[Side], begun: Collection[Work]) -> Lost:
        """Record that a cell lost the actors of `sides`. Return the consequences.

        Args:
            begun: The stages that were really started. Other stages that count as running start again.
        """
        state = self._states[cell]
        sides = scheduler.dependents(state, sides)
        unstarted = [work for work in state.running if work not in begun]
        self._states[cell], gone, todo = scheduler.lose(state, sides, unstarted)
        return Lost(sides, gone, todo)

    def regain(self, cell: str, side: Side) -> Todo:
        """Record that a side of a cell is at work again. Return the stages that the cell starts."""
        self._states[cell], todo = scheduler.regain(self._states[cell], frozenset({side}))
        return todo

    def drop(self, cell: str, committed: Mapping[str, int]) -> dict[str, Todo]:
        """Drop a cell and assign its arms to the others. Return the stages that each of these starts.

        `committed` has the number of committed generations of each arm.
        """
        orphans = self._states.pop(cell).cohorts
        return self._deal([cohort for cohort in self._cohorts if tuple(cohort) in orphans], committed)

    def drain(self) -> None:
        """Begin no further generation."""
        self._states = {cell: scheduler.drain(state) for cell, state in self._states.items()}

    def _deal(self, cohorts: Sequence[Cohort], committed: Mapping[str, int]) -> dict[str, Todo]:
        left = {arm: self._generations + 1 - committed[arm] for cohort in cohorts for arm in cohort}
        efforts = {arm: count * effort(self._arms[arm]) for arm, count in left.items()}
        todos = {}
        for cell, share in zip(self.cells, shares(cohorts, efforts, len(self._states)), strict=True):
            if share:
                counts = {arm: committed[arm] for cohort in share for arm in cohort}
                self._states[cell], todos[cell] = scheduler.join(self._states[cell], share, counts)
        return todos


def effort(arm: Arm) -> float:
    """Return the relative effort of one generation of an arm in tokens.

    It counts the tokens written, and those read in `epochs` passes.
    """
    sample = arm.recipe.sample
    return (sample.written + sample.count * arm.recipe.train.epochs) * arm.recipe.max_tokens


def shares(cohorts: Sequence[Cohort], efforts: Mapping[str, float], cells: int) -> list[list[Cohort]]:
    """Deal cohorts to cells by Graham's longest processing time first. Return the cohorts of each cell.

    Each cohort goes to the cell that has least. `efforts` has the relative effort of each arm.
    """
    dealt: list[list[Cohort]] = [[] for _ in range(cells)]
    loads = [0.0] * cells
    for cohort in sorted(cohorts, key=lambda cohort: -sum(efforts[arm] for arm in cohort)):
        least = loads.index(min(loads))
        dealt[least].append(cohort)
        loads[least] += sum(efforts[arm] for arm in cohort)
    return [sorted(own, key=list(cohorts).index) for own in dealt]
