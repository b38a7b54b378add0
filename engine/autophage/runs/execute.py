"""Execute a loaded recipe until its run directory is complete.

Owns the order: refusals before the first write, then the lock, then the machines, then the generations. Sends every
event to the run's history and to the view.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autophage.cluster.restart_budget import RestartBudget
from autophage.cluster.stopping import Stopping, heeding
from autophage.errors import AutophageError, UserError
from autophage.host import environment, vllm_window
from autophage.plan.disk import full_disk_as_user_error
from autophage.plan.object_store import store_here
from autophage.plan.record import read_prediction, record_prediction
from autophage.recipe import LoadedRecipe
from autophage.recipe.batching import MOST_MIXED, cohorts_of, is_continuous
from autophage.runs.chosen import as_facts, settle, site_of
from autophage.runs.directory import as_begun, begin_environment, begin_run, open_directory
from autophage.runs.fork import Origin, begin_fork, copy_fork, plan_fork
from autophage.stages.facts import check_model
from autophage.stages.family import check_family
from autophage.store.atomic import unsynced_note
from autophage.store.lock import RunLock
from autophage.store.manifest import committed, tidy
from autophage.store.metrics_table import is_current, write_metrics_table
from autophage.store.rundir import Emit, EventLog, RunDirectory

if TYPE_CHECKING:
    from autophage.learners.loop import Chains
    from autophage.live import View
    from autophage.track.processes import Followers

HISTORY_SECONDS = 5.0
"""Least seconds between two progress events in the history. A view receives every event."""

GenerationMaker = Callable[[RunDirectory, Emit, Stopping], None]


def execute(
    loaded: LoadedRecipe,
    out: Path,
    view: View,
    address: str | None = None,
    origin: Origin | None = None,
    *,
    insecure: bool = False,
    followers: Followers | None = None,
) -> bool:
    """Make the generations that the run in `out` lacks.

    Args:
        address: Ray cluster to work on. None starts a private Ray on this machine.
        origin: Generations of another run to begin with.
        insecure: Join a cluster of several machines that requires no token.
        followers: Processes that send the run to trackers. They are started here, and killed if the run is undone.

    Returns:
        True if generations were made; False if the run was complete already.

    Raises:
        UserError: The request cannot be met. A directory that this call made is removed.
        RunError: The run failed. Committed generations stay, and the same call resumes.
        StoreError: Committed files differ from their manifests.
        KeyboardInterrupt: The run was interrupted. After SIGUSR1 it is a `RequeueInterrupt`.
    """
    run = RunDirectory(out)
    loaded = as_begun(loaded, run) if run.exists else loaded
    fork = None if origin is None else plan_fork(loaded, run, origin)
    if run.exists and begin_run(loaded, run) and _complete(loaded, run):
        _finish_table(loaded, run)
        return False
    work = _prepared(loaded, address, insecure=insecure)
    new = not run.exists
    before = {path.name for path in out.iterdir()} if out.is_dir() else None
    stopping = Stopping(loaded.recipe.cluster.grace, partial(_leave_nothing, run))
    with heeding(stopping), full_disk_as_user_error(out), open_directory(run), RunLock(run.lock) as lock:
        begin_fork(run, fork)
        begin_run(loaded, run)
        tidy(run)
        copied = copy_fork(run)
        _refresh_table(loaded, run)  # refuses damaged metrics before generations are added to them
        if followers is not None:
            followers.start()
        with _history(run, view, followers) as emit, full_disk_as_user_error(out):
            try:
                for note in filter(None, [lock.note, unsynced_note(run.root), *copied]):
                    emit("note", text=note)
                _announced(loaded, run, emit, work, stopping)
            except UserError:
                begun_with = 0 if fork is None else fork["generation"] + 1
                if new and all(len(committed(run, arm.name)) <= begun_with for arm in loaded.arms):
                    if followers is not None:
                        followers.abandon(kill=True)
                    _undo(run.root, before)
                raise
    return True


def _prepared(loaded: LoadedRecipe, address: str | None, *, insecure: bool) -> GenerationMaker:
    """Refuse early what cannot run. Return the function that makes the missing generations."""
    if loaded.recipe.trains_language_model:
        environment.apply()
        vllm_window.require()
        return partial(_engine, loaded, address, insecure, refuse_early(loaded))
    from autophage.learners.loop import Chains

    if address is not None:
        raise UserError(
            f"--address {address}: a run of learner.kind = {loaded.recipe.learner.kind!r} works in one process. "
            "Remove the option."
        )
    chains = Chains(loaded)
    return partial(_learners, loaded, chains)


def _learners(loaded: LoadedRecipe, chains: Chains, run: RunDirectory, emit: Emit, _: Stopping) -> None:
    """Make the missing generations of learners that are no language models, in this process."""
    resumed = any(committed(run, arm.name) for arm in loaded.arms)
    for note in begin_environment(run, chains.facts(), resumed=resumed):
        emit("note", text=note)
    chains.drive(run, emit)


def _leave_nothing(run: RunDirectory) -> None:
    """Remove the temporary files of a run whose process is about to end on the spot."""
    from autophage.cluster.session import remove_scratch

    remove_scratch()
    tidy(run)


def _undo(root: Path, before: set[str] | None) -> None:
    """Remove the files of a run that made no generation.

    Args:
        before: Names in the directory before the run; None if the directory did not exist.
    """
    if before is None:
        shutil.rmtree(root)
        return
    for path in root.iterdir():
        if path.name not in before:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _finish_table(loaded: LoadedRecipe, run: RunDirectory) -> None:
    """Write the table of metrics if it differs from the committed generations.

    A process may have died between its last commit and the table.
    """
    if not is_current(run, [arm.name for arm in loaded.arms]):
        with RunLock(run.lock):
            tidy(run)
            _refresh_table(loaded, run)


def _refresh_table(loaded: LoadedRecipe, run: RunDirectory) -> None:
    names = [arm.name for arm in loaded.arms]
    if not is_current(run, names):
        write_metrics_table(run, names)


def refuse_early(loaded: LoadedRecipe) -> list[str]:
    """Check source, questions, gates and model before anything is written or started. Return notes for the user.

    Raises:
        UserError: One of them is missing, or cannot be used.
    """
    from autophage.data.build import read_source
    from autophage.data.posing import read_questions

    source = read_source(loaded.recipe)
    read_questions(loaded.recipe, source)
    if loaded.recipe.questions.entailment and loaded.recipe.questions.kind != "none":
        from autophage.trainer.entailment import entailment_label

        entailment_label(loaded.recipe.questions.entailment)
    for arm in loaded.arms:
        for gate in arm.recipe.gate:
            gate.require()
    if loaded.recipe.measure.harness:
        from autophage.stages.harness import check_tasks

        check_tasks(loaded.recipe.measure)
    return [*source.notes, *check_model(loaded.recipe, source), *check_family(loaded.arms)]


def _complete(loaded: LoadedRecipe, run: RunDirectory) -> bool:
    wanted = loaded.recipe.generations + 1
    return all(len(committed(run, arm.name)) >= wanted for arm in loaded.arms)


def _announced(loaded: LoadedRecipe, run: RunDirectory, emit: Emit, work: GenerationMaker, stopping: Stopping) -> None:
    """Call `work` between the events `run-start` and `run-end`."""
    began = time.monotonic()
    names = [arm.name for arm in loaded.arms]
    counts = {name: len(committed(run, name)) for name in names}
    emit(
        "run-start",
        name=loaded.recipe.name,
        arms=names,
        controls=[arm.name for arm in loaded.arms if arm.control],
        generations=loaded.recipe.generations,
        devices=loaded.recipe.devices,
        committed=counts,
    )
    work(run, emit, stopping)
    emit("run-end", seconds=round(time.monotonic() - began, 3))


def _engine(
    loaded: LoadedRecipe,
    address: str | None,
    insecure: bool,
    notes: Sequence[str],
    run: RunDirectory,
    emit: Emit,
    stopping: Stopping,
) -> None:
    """Make the missing generations of language models, with samplers and trainers on Ray. Tell the user `notes` first."""
    from autophage.cluster.cell import Cell
    from autophage.cluster.deadlines import Deadlines, planned_stages
    from autophage.cluster.driver import Driver
    from autophage.cluster.placement import nodes, place
    from autophage.cluster.session import ray_for
    from autophage.cluster.startup import prepare

    for note in notes:
        emit("note", text=note)
    resumed = any(committed(run, arm.name) for arm in loaded.arms)
    store = store_here(loaded.arms)
    with ray_for(address, store_bytes=store.size, insecure=insecure):
        if store.warning and address is None:
            emit("note", text=store.warning)
        loaded, choices, chosen = settle(loaded, site_of(nodes()), run.read_environment() if resumed else {})
        for note in chosen:
            emit("note", text=note)
        record_prediction(loaded, run)
        deadlines = Deadlines(loaded.recipe.cluster.patience, *planned_stages(read_prediction(run)))
        emit("note", text="starting sampler and trainer")
        at_once = MOST_MIXED if not loaded.recipe.takes_turns else 1
        placed = place(loaded.recipe, run.logs, deadlines, at_once=at_once)
        model = prepare(placed, RestartBudget(loaded.recipe.cluster.restarts), emit)
        facts = dict(model.facts)
        for note in begin_environment(run, facts, resumed=resumed, choices=as_facts(choices)):
            emit("note", text=note)
        cohorts = cohorts_of(loaded.arms, continuous=is_continuous(loaded.recipe, facts["device"]))
        arms = {arm.name: arm for arm in loaded.arms}
        cells = [Cell(actors, run, arms, cohorts, model) for actors in placed]
        Driver(
            loaded, run, cells, cohorts, emit, device=facts["device"], deadlines=deadlines, stopping=stopping
        ).drive()


@contextmanager
def _history(run: RunDirectory, view: View, followers: Followers | None) -> Iterator[Emit]:
    """Yield the function that records an event in the run's history and shows it in the view.

    An error in the block is recorded as the end of the run. Notes of followers are recorded before the next event.
    """
    log = EventLog(run.events)
    last_progress = 0.0

    def emit(kind: str, **fields: Any) -> None:
        for text in followers.notes() if followers is not None else []:
            record("note", text=text)
        record(kind, **fields)

    def record(kind: str, **fields: Any) -> None:
        nonlocal last_progress
        event = {"time": round(time.time(), 3), "kind": kind, **fields}
        if not kind.endswith("-progress"):
            log.append(event)
        elif event["time"] - last_progress >= HISTORY_SECONDS:
            last_progress = event["time"]
            log.append(event)
        view.handle(event)

    try:
        yield emit
    except KeyboardInterrupt as interrupt:
        emit(
            "interrupted",
            reason=str(interrupt) or "stopped by the user; the same command resumes after the last commit",
        )
        raise
    except AutophageError as error:
        if run.root.is_dir():
            emit("failed", error=str(error))
        raise
