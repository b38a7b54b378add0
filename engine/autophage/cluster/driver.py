"""Drives the cells of a run until every generation of every arm is committed.

Deals cohorts of arms out to cells, carries out what each cell's scheduler decides, and commits: the one process that
writes the run directory. An actor that died is started again, within a budget; where a cell is lost for good, its arms go on
in another from their last commit. Asked to stop, it begins nothing and commits what can be.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from autophage.cluster.calls import ActorLostError
from autophage.cluster.cell import Cell
from autophage.cluster.deadlines import Deadlines
from autophage.cluster.making import Running
from autophage.cluster.placement import machines_left
from autophage.cluster.restarts import Restarts
from autophage.cluster.scheduler import (
    Done,
    Side,
    Stage,
    State,
    Work,
    begin,
    dependents,
    drain,
    join,
    lose,
    regain,
    stages_left,
    step,
)
from autophage.cluster.stopping import Stopping
from autophage.errors import RunError
from autophage.host.versions import versions
from autophage.plan.disk import require_room
from autophage.recipe import LoadedRecipe
from autophage.recipe.arms import Arm
from autophage.recipe.batching import is_continuous, resume_level, streaming
from autophage.store.commit import Generation, commit_generation
from autophage.store.fault_points import reach
from autophage.store.manifest import committed
from autophage.store.rundir import Emit, RunDirectory

POLL_SECONDS = 0.25

Cohort = Sequence[str]


class Driver:
    def __init__(
        self,
        loaded: LoadedRecipe,
        run: RunDirectory,
        cells: Sequence[Cell],
        cohorts: Sequence[Cohort],
        emit: Emit,
        *,
        device: str,
        deadlines: Deadlines,
        stopping: Stopping,
    ) -> None:
        self._recipe = loaded.recipe
        self._arms = {arm.name: arm for arm in loaded.arms}
        self._run = run
        self._cells = list(cells)
        self._cohorts = cohorts
        self._emit = emit
        self._continuous = is_continuous(loaded.recipe, device)
        self._level = resume_level(device, continuous=self._continuous)
        self._states: dict[Cell, State] = {}
        self._deadlines, self._stopping = deadlines, stopping
        self._restarts = {cell: Restarts(loaded.recipe.cluster.restarts) for cell in cells}

    def drive(self) -> None:
        """Make every generation that is not committed yet.

        Raises:
            AutophageError: a stage failed, or the last cell was lost.
            KeyboardInterrupt: it was asked to stop, and what could be committed in time is.
        """
        serial = self._recipe.devices == "serial"
        todos = {}
        for cell, cohorts in zip(self._cells, self._shares(self._cohorts, len(self._cells)), strict=True):
            counts = self._committed(cohorts)
            self._states[cell], todos[cell] = begin(
                cohorts,
                counts,
                self._recipe.generations,
                serial=serial,
                continuous=self._continuous,
                streams=streaming(list(self._arms.values())),
            )
        for cell, todo in todos.items():
            if cell in self._states:
                self._guarded(cell, self._begin, todo)
        with self._stopping.waited_for():
            while not all(state.finished for state in self._states.values()):
                if self._stopping.asked:
                    self._drain()
                self._advance()
        if not all(state.complete for state in self._states.values()):
            self._stopping.leave()

    def _drain(self) -> None:
        """Begin nothing new; leave at once where nothing in the making can be committed in the time that is left.

        Raises:
            KeyboardInterrupt: there is nothing to wait for, or no time is left.
        """
        if any(not state.draining for state in self._states.values()):
            self._states = {cell: drain(state) for cell, state in self._states.items()}
            self._emit(
                "note", text=f"{self._stopping.asked}: finishing what can be committed in {self._stopping.grace:.0f} s"
            )
        left = self._stopping.seconds_left()
        if not any(
            self._until_commit(cell, running) <= left for cell in self._states for running in cell.running.values()
        ):
            self._stopping.leave()

    def _until_commit(self, cell: Cell, running: Running) -> float:
        """Seconds until the generation that this stage belongs to should be committed; what nothing is known of takes none."""
        work = running.work
        stages = sum(self._deadlines.expected(replace(work, stage=stage)) for stage in stages_left(work))
        spent = time.monotonic() - running.started
        return stages - min(spent, self._deadlines.expected(work))

    def _advance(self) -> None:
        """Wait until a stage of some cell is finished, or it is time to look at progress."""
        import ray

        owners = {reference: cell for cell in self._states for reference in (*cell.running, *cell.starting)}
        ready, _ = ray.wait(list(owners), timeout=POLL_SECONDS)
        for reference in ready:
            cell = owners[reference]
            if cell in self._states:
                self._guarded(cell, self._finish, reference)
        if not ready:
            for cell in list(self._states):
                if cell in self._states:
                    self._guarded(cell, self._look)

    def _finish(self, cell: Cell, reference: Any) -> None:
        """Take what has come; what was of an actor that is lost meanwhile comes to nothing."""
        if reference in cell.starting:
            side = cell.regain(reference)
            self._emit("note", text=f"{cell.words(side)} is up again")
            self._states[cell], todo = regain(self._states[cell], frozenset({side}))
            self._begin(cell, todo)
        elif reference in cell.running:
            self._finish_stage(cell, reference)

    def _finish_stage(self, cell: Cell, reference: Any) -> None:
        finished = cell.finish(reference)
        self._emit(
            "stage-end", **self._names(cell, finished.work), seconds=round(finished.seconds, 3), tokens=finished.tokens
        )
        for text in finished.notes:
            self._emit("note", text=text)
        self._step(cell, Done(finished.work, finished.seconds))

    def _step(self, cell: Cell, event: Done) -> None:
        self._states[cell], todo = step(self._states[cell], event)
        self._begin(cell, todo)

    def _begin(self, cell: Cell, todo: Sequence[Work]) -> None:
        self._require_room(todo)
        for work in todo:
            self._emit("stage-start", **self._names(cell, work))
        for works in self._calls([work for work in todo if work.stage is not Stage.COMMIT]):
            cell.start(works)
        for work in todo:
            if work.stage is Stage.COMMIT:
                self._commit(cell, work)

    def _require_room(self, todo: Sequence[Work]) -> None:
        for generation, stage in dict.fromkeys((work.generation, work.stage) for work in todo):
            arms = [self._arms[work.arm] for work in todo if (work.generation, work.stage) == (generation, stage)]
            require_room(self._run, arms, generation, stage.value)

    def _calls(self, works: Sequence[Work]) -> Iterable[Sequence[Work]]:
        """What starts in one call: a cohort's sampling, or each work for itself where batches are continuous."""
        return [[work] for work in works] if self._continuous else [works] if works else []

    def _commit(self, cell: Cell, work: Work) -> None:
        began = time.monotonic()
        reach("commit", work)
        made = cell.made(work)
        generation = Generation(
            arm=work.arm,
            generation=work.generation,
            weights=made.weights,
            served_as=made.served.name,
            samples=made.samples,
            metrics=made.metrics + made.trained + [metric for metrics in made.speed.values() for metric in metrics],
            canary=made.canary,
            seed=self._arms[work.arm].recipe.seed,
            steps=made.steps,
            optimizer=made.optimizer,
            answers=made.answered,
        )
        commit_generation(self._run, generation, level=self._level, versions=versions(), arms=list(self._arms))
        reach("committed", work)
        seconds = time.monotonic() - began
        self._emit("stage-end", **self._names(cell, work), seconds=round(seconds, 3), tokens=0)
        headline = {metric.metric: metric.value for metric in made.metrics if metric.metric.count(".") < 2}
        self._emit("commit", arm=work.arm, generation=work.generation, metrics=headline)
        self._restarts[cell].renew()
        self._deadlines.measured(work, seconds)
        self._step(cell, Done(work, seconds))

    def _look(self, cell: Cell) -> None:
        if cell.starting and cell.lost_machine and (len(self._states) > 1 or not machines_left()):
            names = " and ".join(cell.words(starting.side) for starting in cell.starting.values())
            self._give_up(cell, ActorLostError(f"the machine that {names} was on is gone, or Ray's process there is."))
            return
        for seen in cell.look():
            self._emit(
                "stage-progress",
                **self._names(cell, seen.work),
                done=seen.done,
                total=seen.total,
                tokens_per_second=seen.tokens_per_second,
            )

    def _guarded(self, cell: Cell, act: Callable[..., None], *arguments: Any) -> None:
        """Do something with a cell; where an actor of it turns out to be lost, see that the run goes on without it."""
        try:
            act(cell, *arguments)
        except ActorLostError as lost:
            self._recover(cell, lost, cell.side_of(lost))

    def _recover(self, cell: Cell, lost: ActorLostError, sides: frozenset[Side]) -> None:
        """Start what was lost again; where its machine is gone or the budget is spent, give the cell's arms to the others.

        Nothing is lost but what was under way where `sides` is empty: it needed an actor that has been replaced since.

        Raises:
            RunError: there is no other cell.
        """
        if sides:
            moved = len(self._states) > 1 and cell.lost_machine
            if moved or not self._restarts[cell].take():
                self._give_up(cell, lost)
                return
            self._restarts[cell].tell(self._emit, sorted(map(cell.words, sides)), lost)
        state = self._states[cell]
        sides = dependents(state, sides)
        begun = {running.work for running in cell.running.values()}
        unstarted = [work for work in state.running if work not in begun]
        self._states[cell], gone, todo = lose(state, sides, unstarted)
        for work in gone:
            self._emit("stage-lost", **self._names(cell, work))
        self._guarded(cell, self._let_go, sides, gone, todo)

    def _let_go(self, cell: Cell, sides: frozenset[Side], gone: Sequence[Work], todo: Sequence[Work]) -> None:
        cell.lose(sides, gone)
        self._begin(cell, todo)

    def _give_up(self, cell: Cell, lost: ActorLostError) -> None:
        budget = self._restarts[cell]
        del self._states[cell]
        if not self._states:
            raise RunError(
                f"{lost} Actors were started again {budget.taken} times since the last commit, of {budget.most} that "
                "cluster.restarts allows. The same command goes on after the last commit."
            ) from lost
        self._emit("note", text=f"{cell.name} is lost ({lost}) Its arms go on in the other cells.")
        self._hand_over([cohort for cohort in self._cohorts if self._is_orphaned(cohort)])

    def _hand_over(self, orphans: Sequence[Cohort]) -> None:
        heirs = list(self._states)
        for cell, cohorts in zip(heirs, self._shares(orphans, len(heirs)), strict=True):
            if cohorts and cell in self._states:
                self._states[cell], todo = join(self._states[cell], cohorts, self._committed(cohorts))
                self._guarded(cell, self._begin, todo)

    def _is_orphaned(self, cohort: Cohort) -> bool:
        return not any(tuple(cohort) in state.cohorts for state in self._states.values())

    def _committed(self, cohorts: Iterable[Cohort]) -> dict[str, int]:
        return {arm: len(committed(self._run, arm)) for cohort in cohorts for arm in cohort}

    def _shares(self, cohorts: Sequence[Cohort], cells: int) -> list[list[Cohort]]:
        counts = self._committed(cohorts)
        left = {arm: self._recipe.generations + 1 - count for arm, count in counts.items()}
        return shares(cohorts, {arm: left[arm] * effort(self._arms[arm]) for arm in counts}, cells)

    def _names(self, cell: Cell, work: Work) -> dict[str, Any]:
        names = {"arm": work.arm, "generation": work.generation, "stage": work.stage.value}
        return names if len(self._cells) == 1 else {**names, "cell": cell.name}


def effort(arm: Arm) -> float:
    """How much work a generation of this arm is, compared to another: tokens written, and read `epochs` times."""
    sample = arm.recipe.sample
    return (sample.written + sample.count * arm.recipe.train.epochs) * arm.recipe.max_tokens


def shares(cohorts: Sequence[Cohort], efforts: Mapping[str, float], cells: int) -> list[list[Cohort]]:
    """The cohorts of each cell: the largest first, to the cell that has least (Graham's longest processing time first)."""
    dealt: list[list[Cohort]] = [[] for _ in range(cells)]
    loads = [0.0] * cells
    for cohort in sorted(cohorts, key=lambda cohort: -sum(efforts[arm] for arm in cohort)):
        least = loads.index(min(loads))
        dealt[least].append(cohort)
        loads[least] += sum(efforts[arm] for arm in cohort)
    return [sorted(own, key=list(cohorts).index) for own in dealt]
