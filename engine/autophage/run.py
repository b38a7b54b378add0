"""`autophage run`: from a loaded recipe to a finished run directory, or further on the way to one.

Owns the order of things: what can be refused is refused before anything is written, then the lock, then the machines,
then the generations. Emits every event to the run's history and to whoever watches.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autophage import environment, vllm_window
from autophage.errors import AutophageError, UserError
from autophage.plan.record import record_prediction
from autophage.provenance import begin_run, check_model, check_same, machine_facts, open_directory
from autophage.recipe import LoadedRecipe
from autophage.store.manifest import committed, tidy
from autophage.store.metrics_table import collect, read_metrics_table, write_metrics_table
from autophage.store.rundir import EventLog, RunDirectory, RunLock

if TYPE_CHECKING:
    from autophage.live import View

HISTORY_SECONDS = 5.0
"""Least time between two progress events in the history; a live view gets them all."""

Emit = Callable[..., None]


def execute(loaded: LoadedRecipe, out: Path, view: View) -> bool:
    """Make what `out` lacks of the run that `loaded` describes; False where nothing was lacking.

    Raises:
        UserError: what was asked for cannot be had; a directory that this call made is gone again.
        RunError: the run failed; what was committed stays, and the same call goes on from there.
        KeyboardInterrupt: likewise.
    """
    run = RunDirectory(out)
    if run.exists and begin_run(loaded, run) and _complete(loaded, run):
        _finish_table(loaded, run)
        return False
    environment.apply()
    vllm_window.require()
    _refuse_early(loaded)
    new = not run.exists
    before = {path.name for path in out.iterdir()} if out.is_dir() else None
    with open_directory(run), RunLock(run.lock):
        begin_run(loaded, run)
        tidy(run)
        record_prediction(loaded, run)
        with _history(run, view) as emit:
            try:
                _work(loaded, run, emit)
            except UserError:
                if new and not any(committed(run, arm.name) for arm in loaded.arms):
                    _undo(run.root, before)
                raise
    return True


def _undo(root: Path, before: set[str] | None) -> None:
    """Remove what a run that never began has written; `before` is what stood in its directory, None if it did not exist."""
    if before is None:
        shutil.rmtree(root)
        return
    for path in root.iterdir():
        if path.name not in before:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _finish_table(loaded: LoadedRecipe, run: RunDirectory) -> None:
    """A process that died after its last manifest did not get to write the table of metrics; write it now."""
    names = [arm.name for arm in loaded.arms]
    if read_metrics_table(run).num_rows != collect(run, names).num_rows:
        with RunLock(run.lock):
            write_metrics_table(run, names)


def _refuse_early(loaded: LoadedRecipe) -> None:
    """Find what is wrong with source and model while nothing has been written or started."""
    from autophage.data.build import read_source

    read_source(loaded.recipe)
    check_model(loaded.recipe)


def _complete(loaded: LoadedRecipe, run: RunDirectory) -> bool:
    wanted = loaded.recipe.generations + 1
    return all(len(committed(run, arm.name)) >= wanted for arm in loaded.arms)


def _work(loaded: LoadedRecipe, run: RunDirectory, emit: Emit) -> None:
    from autophage.cluster import local_ray, start_actors
    from autophage.driver import Driver

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
    with local_ray():
        trainer, sampler = start_actors(loaded.recipe, run.logs)
        facts = _prepare(trainer, sampler, run, emit)
        now = {**machine_facts(), "model": facts}
        if any(counts.values()):
            for note in check_same(run.read_environment(), now):
                emit("note", text=note)
        else:
            run.write_environment(now)
        Driver(loaded, run, trainer, sampler, emit, device=facts["device"]).drive(counts)
    emit("run-end", seconds=round(time.monotonic() - began, 3))


def _prepare(trainer: Any, sampler: Any, run: RunDirectory, emit: Emit) -> dict[str, Any]:
    """Load the model on the trainer's side (training it first where there is none), then start the sampler on it."""
    import ray

    from autophage.cluster import fetch, latest_progress

    emit("note", text="starting sampler and trainer")
    preparing = trainer.prepare.remote()
    progress = None
    while not ray.wait([preparing], timeout=0.5)[0]:
        progress = latest_progress(trainer, progress)
        if progress is not None and progress.total:
            emit("base-progress", done=progress.done, total=progress.total, loss=round(progress.loss, 4))
    facts: dict[str, Any] = fetch(preparing, "trainer", run.logs)
    settings = fetch(trainer.engine_settings.remote(), "trainer", run.logs)
    fetch(sampler.start.remote(settings), "sampler", run.logs)
    emit("note", text=f"model with {facts['parameters']:,} parameters on {facts['device']}")
    return facts


@contextmanager
def _history(run: RunDirectory, view: View) -> Iterator[Emit]:
    """Yield a function that records an event and shows it; how the run ended is recorded on the way out."""
    log = EventLog(run.events)
    last_progress = 0.0

    def emit(kind: str, **fields: Any) -> None:
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
    except KeyboardInterrupt:
        emit("interrupted", reason="stopped by the user; the same command goes on after the last commit")
        raise
    except AutophageError as error:
        if run.root.is_dir():
            emit("failed", error=str(error))
        raise
