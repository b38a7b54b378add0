"""The run directory: its paths, its lock, and its history of events.

    RUN/recipe.toml  environment.json  events.jsonl  metrics.parquet  report.html  logs/  set-aside/  .lock
    RUN/fork.json, if the first generations are copies from another run
    RUN/arms/ARM/gen-003/{corpus-00000.parquet, adapter/ or model/, answers.parquet, metrics.json, manifest.json}

`RunDirectory` names the paths. Events are one JSON object per line; readers ignore
a last line that a crash cut short.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from autophage.errors import UserError
from autophage.host.credentials import without_credentials
from autophage.store.atomic import write_text
from autophage.store.fault_points import reach
from autophage.store.seal import sealed, unsealed

INDENT = 2


class Emit(Protocol):
    """Function that records an event of a run in its history and shows it to the viewers."""

    def __call__(self, kind: str, **fields: Any) -> None: ...


def generation_name(generation: int) -> str:
    """Return the name of a generation's folder in its arm's folder, such as gen-003."""
    return f"gen-{generation:03d}"


class RunDirectory:
    """Paths of the files of a run directory. None of them need exist."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        self.recipe = self.root / "recipe.toml"
        self.environment = self.root / "environment.json"
        self.events = self.root / "events.jsonl"
        self.metrics = self.root / "metrics.parquet"
        self.report = self.root / "report.html"
        self.logs = self.root / "logs"
        self.lock = self.root / ".lock"
        self.arms = self.root / "arms"
        self.aside = self.root / "set-aside"
        self.fork = self.root / "fork.json"

    def generation(self, arm: str, generation: int) -> Path:
        return self.arms / arm / generation_name(generation)

    @property
    def exists(self) -> bool:
        return self.recipe.is_file()

    def require(self) -> RunDirectory:
        """Return this directory if it holds a run.

        Raises:
            UserError: The directory does not exist, or holds no run.
        """
        if not self.root.is_dir():
            raise UserError(
                f"{self.root}: there is no such directory. Give the directory that `autophage run --out` wrote."
            )
        if not self.exists:
            raise UserError(
                f"{self.root}: holds no run (no recipe.toml). Give the directory that `autophage run --out` wrote."
            )
        return self

    def read_environment(self) -> dict[str, Any]:
        if not self.environment.is_file():
            return {}
        return unsealed(self.environment, INDENT)

    def write_environment(self, facts: dict[str, Any]) -> None:
        write_text(self.environment, sealed(facts, INDENT))

    def read_fork(self) -> dict[str, Any]:
        """Read `fork.json`, which names the origin of the first generations.

        A run that is no fork gives an empty dictionary.
        """
        return unsealed(self.fork, INDENT) if self.fork.is_file() else {}

    def write_fork(self, facts: dict[str, Any]) -> None:
        write_text(self.fork, sealed(facts, INDENT))


class EventLog:
    """Append-only history of a run, one JSON object per line.

    Each event has its `time` in seconds since the epoch, its `kind`, and other fields.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._end_torn_line()

    def append(self, event: dict[str, Any]) -> None:
        kept = {name: without_credentials(value) if isinstance(value, str) else value for name, value in event.items()}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(kept) + "\n")
        reach("append", event, torn=self.path)

    def _end_torn_line(self) -> None:
        """End a line that a crash tore. The next event then starts on its own line."""
        if self.path.is_file() and self.path.stat().st_size:
            with self.path.open("rb+") as file:
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.write(b"\n")


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the events in the file `path` in order; none if there is no file. Lines that a crash tore are skipped."""
    if not path.is_file():
        return
    for line in path.read_text("utf-8", errors="replace").splitlines():
        try:
            event = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(event, dict):
            yield event
