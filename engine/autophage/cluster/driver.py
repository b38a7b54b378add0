"""Drives the cells of a run until every generation of every arm is committed.

Carries out what the schedule decides. Restarts actors that died, within a budget, and drops a cell that is lost for
good. After a request to stop it begins no generation and commits those that it can finish. `schedule` decides which
stage is next.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

from autophage.cluster.calls import ActorLostError
from autophage.cluster.cell import Cell
from autophage.cluster.cell_actors import machines
from autophage.cluster.commits import Committer
from autophage.cluster.deadlines import Deadlines
from autophage.cluster.restart_budget import RestartBudget
from autophage.cluster.schedule import Cohort, Lost, Schedule
from autophage.cluster.scheduler import Done, Side, Stage, Work
from autophage.cluster.stopping import Stopping
from autophage.errors import RunError
from autophage.recipe import LoadedRecipe
from autophage.recipe.batching import is_continuous, resume_level, streaming
from autophage.store.rundir import Emit, RunDirectory

if TYPE_CHECKING:
    from ray import ObjectRef

POLL_SECONDS = 0.25
"""Longest wait for a result before progress is looked at."""

P = ParamSpec("P")


class Driver:
    """Run the cells until every generation of every arm is committed."""

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
        recipe, arms = loaded.recipe, {arm.name: arm for arm in loaded.arms}
        self._continuous = is_continuous(recipe, device)
        self._cells = {cell.name: cell for cell in cells}
        self._schedule = Schedule(
            list(self._cells),
            cohorts,
            arms,
            recipe.generations,
            serial=recipe.devices == "serial",
            continuous=self._continuous,
            streams=streaming(loaded.arms),
        )
        self._committer = Committer(run, arms, resume_level(device, continuous=self._continuous), emit)
        self._budgets = {cell.name: RestartBudget(recipe.cluster.restarts) for cell in cells}
        self._emit, self._deadlines, self._stopping = emit, deadlines, stopping

    def drive(self) -> None:
        """Make every generation that is not committed yet.

        Raises:
            AutophageError: A stage failed, or the last cell was lost.
            KeyboardInterrupt: The run was asked to stop. Generations that could be finished in time are committed.
        """
        self._begin_all(self._schedule.begin(self._committer.counts()))
        with self._stopping.waited_for():
            while not self._schedule.finished:
                if self._stopping.asked:
                    self._drain()
                self._advance()
        if not self._schedule.complete:
            self._stopping.leave()

    @property
    def _live(self) -> list[Cell]:
        return [self._cells[name] for name in self._schedule.cells]

    def _drain(self) -> None:
        """Begin no further generation. Leave at once if none in progress can be committed in the time left.

        Raises:
            KeyboardInterrupt: There is nothing to wait for, or no time is left.
        """
        if not self._schedule.draining:
            self._schedule.drain()
            self._emit(
                "note", text=f"{self._stopping.asked}: finishing generations for up to {self._stopping.grace:.0f} s"
            )
        now, left = time.monotonic(), self._stopping.seconds_left()
        running = [one for cell in self._live for one in cell.running.values()]
        if not any(self._deadlines.until_commit(one.work, now - one.started) <= left for one in running):
            self._stopping.leave()

    def _advance(self) -> None:
        """Wait for the end of a stage in any cell, or until it is time to look at progress."""
        import ray

        owners = {reference: cell for cell in self._live for reference in (*cell.running, *cell.starting)}
        ready, _ = ray.wait(list(owners), timeout=POLL_SECONDS)
        for reference in ready:
            self._guarded(self._finish, owners[reference], reference)
        if not ready:
            for cell in self._live:
                self._guarded(self._look, cell)

    def _finish(self, cell: Cell, reference: ObjectRef[Any]) -> None:
        """Take the result of a stage, or an actor that is up again.

        References that belonged to a lost actor are in neither table and are dropped.
        """
        if reference in cell.starting:
            side = cell.regain(reference)
            self._emit("note", text=f"{cell.actor_name(side)} has restarted")
            self._begin(cell, self._schedule.regain(cell.name, side))
        elif reference in cell.running:
            finished = cell.finish(reference)
            names = self._names(cell, finished.work)
            share = {} if finished.of_light is None else {"of_light": round(finished.of_light, 4)}
            self._emit("stage-end", **names, seconds=round(finished.seconds, 3), tokens=finished.tokens, **share)
            for text in finished.notes:
                self._emit("note", text=text)
            self._begin(cell, self._schedule.end(cell.name, Done(finished.work, finished.seconds)))

    def _begin_all(self, todos: Mapping[str, Sequence[Work]]) -> None:
        for name, todo in todos.items():
            self._guarded(self._begin, self._cells[name], todo)

    def _begin(self, cell: Cell, todo: Sequence[Work]) -> None:
        """Start stages of a cell that the schedule has just decided on, commits included."""
        # The loss of another cell may have begun or taken back some of them meanwhile.
        todo = [work for work in todo if work in self._schedule.running(cell.name) and work not in cell.works]
        self._committer.require_room(todo)
        for work in todo:
            self._emit("stage-start", **self._names(cell, work))
        for works in self._calls([work for work in todo if work.stage is not Stage.COMMIT]):
            cell.start(works)
        for work in todo:
            if work.stage is Stage.COMMIT:
                self._commit(cell, work)

    def _calls(self, works: Sequence[Work]) -> Iterable[Sequence[Work]]:
        """Group stages by the call that starts them.

        A cohort's sampling is one call. In a continuous batch each stage is its own call.
        """
        return [[work] for work in works] if self._continuous else [works] if works else []

    def _commit(self, cell: Cell, work: Work) -> None:
        seconds = self._committer.commit(work, *cell.take(work), self._names(cell, work))
        self._budgets[cell.name].renew()
        self._deadlines.measured(work, seconds)
        self._begin(cell, self._schedule.end(cell.name, Done(work, seconds)))

    def _look(self, cell: Cell) -> None:
        if cell.starting and cell.lost_machine() and (len(self._live) > 1 or not machines()):
            names = " and ".join(cell.actor_name(starting.side) for starting in cell.starting.values())
            self._drop(cell, ActorLostError(f"the machine that {names} was on is gone, or Ray's process there is."))
            return
        for seen in cell.look():
            self._emit(
                "stage-progress",
                **self._names(cell, seen.work),
                done=seen.done,
                total=seen.total,
                tokens_per_second=seen.tokens_per_second,
            )

    def _guarded(self, act: Callable[Concatenate[Cell, P], None], cell: Cell, *args: P.args, **named: P.kwargs) -> None:
        """Call `act` on a cell, and recover if the cell turns out to have lost an actor.

        Nothing happens to a cell that has been dropped.
        """
        if cell.name not in self._schedule.cells:
            return
        try:
            act(cell, *args, **named)
        except ActorLostError as lost:
            self._recover(cell, lost, cell.sides_of(lost))

    def _recover(self, cell: Cell, lost: ActorLostError, sides: frozenset[Side]) -> None:
        """Restart the lost actors of a cell, those of `sides`, and repeat the stages that were lost.

        A cell whose machine is gone or whose budget is spent gives its arms to the others. `sides` is empty where the
        actor has been replaced already. Only the stages that needed it are lost then.

        Raises:
            RunError: There is no other cell.
        """
        if sides:
            moved = len(self._live) > 1 and cell.lost_machine()
            budget = self._budgets[cell.name]
            if moved or not budget.take():
                self._drop(cell, lost)
                return
            budget.report(self._emit, sorted(map(cell.actor_name, sides)), lost)
        losses = self._schedule.lose(cell.name, sides, cell.works)
        for work in losses.gone:
            self._emit("stage-lost", **self._names(cell, work))
        self._guarded(self._repeat, cell, losses)

    def _repeat(self, cell: Cell, losses: Lost) -> None:
        cell.lose(losses.sides, losses.gone)
        self._begin(cell, losses.todo)

    def _drop(self, cell: Cell, lost: ActorLostError) -> None:
        """Give a cell up because of the error `lost`, and hand its arms to the others.

        Raises:
            RunError: There is no other cell.
        """
        budget = self._budgets[cell.name]
        if self._schedule.cells == [cell.name]:
            raise RunError(
                f"{lost} The actors were restarted {budget.taken} times since the last commit; cluster.restarts allows "
                f"{budget.most}. The same command resumes after the last commit."
            ) from lost
        self._emit("note", text=f"{cell.name} is lost ({lost}) Its arms continue in the other cells.")
        self._begin_all(self._schedule.drop(cell.name, self._committer.counts()))

    def _names(self, cell: Cell, work: Work) -> dict[str, str | int]:
        """Return the fields that identify a stage in events; `cell` only in a run of several."""
        names: dict[str, str | int] = {"arm": work.arm, "generation": work.generation, "stage": work.stage.value}
        return names if len(self._cells) == 1 else {**names, "cell": cell.name}
