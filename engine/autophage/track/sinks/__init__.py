"""Trackers behind one protocol. Each module talks to one package, which is imported when its tracker is opened."""

from __future__ import annotations

import importlib.util
from importlib import import_module
from pathlib import Path

from autophage.errors import UserError
from autophage.recipe.tables.track import Tracker, TrackTable
from autophage.track.sinks.protocol import Sink

CLASSES: dict[Tracker, str] = {
    "wandb": "WandbSink",
    "mlflow": "MlflowSink",
    "tensorboard": "TensorboardSink",
    "trackio": "TrackioSink",
}
"""Tracker to the class of its sink, in the module of the tracker's name. The package has that name too."""


def missing(tracker: Tracker) -> str | None:
    """Return the message for a tracker whose package is not installed; None if it is."""
    if importlib.util.find_spec(tracker) is not None:
        return None
    return f"{tracker} is not installed. Install it with: pip install 'autophage[{tracker}]'"


def open_sink(tracker: Tracker, table: TrackTable, folder: Path) -> Sink:
    """Open a tracker.

    Args:
        folder: `RUN/track`, for local files of trackers without a folder of their own.

    Raises:
        UserError: The tracker's package is not installed.
    """
    if message := missing(tracker):
        raise UserError(message)
    sink: Sink = getattr(import_module(f"autophage.track.sinks.{tracker}"), CLASSES[tracker])(table, folder)
    return sink
