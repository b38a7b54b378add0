"""TensorBoard: event files in `FOLDER/tensorboard/GROUP/ARM`, written without TensorFlow and torch.

A metric with an interval is also drawn as a band, under Custom Scalars. The report lies beside the event files.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.custom_scalar import metadata as band_metadata
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from tensorboard.plugins.text import metadata as text_metadata
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tensorboard.util import tensor_util

from autophage.recipe.tables.track import TrackTable
from autophage.track.records import HIGH, LOW, MadeGeneration, TrackedArm


class TensorboardSink:
    """Event files of one group, a folder for each arm."""

    def __init__(self, table: TrackTable, folder: Path) -> None:
        self._root = (Path(table.folder) if table.folder else folder) / "tensorboard"
        self._writers: dict[str, EventFileWriter] = {}
        self._drawn: dict[str, set[str]] = {}
        self._group = self._root

    def begin(self, arm: TrackedArm) -> None:
        self._group = self._root / _name(arm.group)
        folder = self._group / arm.name
        new = not any(folder.glob("events.out.*"))
        self._writers[arm.name] = EventFileWriter(str(folder))
        if new:
            self._write(arm.name, hparams_pb(dict(arm.settings), trial_id=arm.name), 0, None)
            self._text(arm.name, "settings", json.dumps({**arm.tags, **arm.settings}, indent=1), 0, None)
        self._writers[arm.name].flush()

    def send(self, arm: TrackedArm, made: MadeGeneration) -> None:
        self._bands(arm.name, made)
        self._scalars(arm.name, made.values, made.generation, made.time)
        for row in made.curve:
            self._scalars(arm.name, row.values, row.step, made.time)
        if made.samples:
            lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in made.samples)
            self._text(arm.name, "samples", lines, made.generation, made.time)

    def flush(self) -> bool:
        for writer in self._writers.values():
            writer.flush()
        return True

    def attach(self, report: Path) -> None:
        shutil.copyfile(report, self._group / "report.html")

    def end(self, outcome: str) -> None:
        for writer in self._writers.values():
            writer.close()

    def _scalars(self, arm: str, values: Mapping[str, float], step: int, time: float) -> None:
        entries = [summary_pb2.Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._write(arm, summary_pb2.Summary(value=entries), step, time)

    def _bands(self, arm: str, made: MadeGeneration) -> None:
        """Write the layout of the bands, if this generation has metrics with an interval that had none before."""
        found = {name for name in made.values if f"{name}{LOW}" in made.values and f"{name}{HIGH}" in made.values}
        known = self._drawn.setdefault(arm, set())
        if found <= known:
            return
        known |= found
        categories: dict[str, list[layout_pb2.Chart]] = {}
        for name in sorted(known):
            series = layout_pb2.MarginChartContent.Series(value=name, lower=f"{name}{LOW}", upper=f"{name}{HIGH}")
            chart = layout_pb2.Chart(title=name, margin=layout_pb2.MarginChartContent(series=[series]))
            categories.setdefault(name.partition("/")[0], []).append(chart)
        layout = layout_pb2.Layout(
            category=[layout_pb2.Category(title=title, chart=charts) for title, charts in categories.items()]
        )
        value = summary_pb2.Summary.Value(
            tag=band_metadata.CONFIG_SUMMARY_TAG,
            metadata=band_metadata.create_summary_metadata(),
            tensor=tensor_util.make_tensor_proto([layout.SerializeToString()]),
        )
        self._write(arm, summary_pb2.Summary(value=[value]), made.generation, made.time)

    def _text(self, arm: str, tag: str, text: str, step: int, time: float | None) -> None:
        indented = "\n".join(f"    {line}" for line in text.splitlines())  # Markdown: four spaces keep text as it is
        value = summary_pb2.Summary.Value(
            tag=tag,
            metadata=text_metadata.create_summary_metadata(display_name=tag, description=""),
            tensor=tensor_util.make_tensor_proto([indented.encode("utf-8", "backslashreplace")]),
        )
        self._write(arm, summary_pb2.Summary(value=[value]), step, time)

    def _write(self, arm: str, summary: summary_pb2.Summary, step: int, time: float | None) -> None:
        event = event_pb2.Event(summary=summary, step=step)
        if time is not None:
            event.wall_time = time
        self._writers[arm].add_event(event)


def _name(group: str) -> str:
    """Return a group as the name of a folder."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", group).strip(".") or "group"
