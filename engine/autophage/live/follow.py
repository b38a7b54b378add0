"""Reader of a growing `events.jsonl`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


class EventTail:
    """Reader of the events that are appended to the file at `path`.

    An unfinished line waits for its end. Damaged lines are skipped.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0
        self._rest = b""

    def read(self) -> list[dict[str, Any]]:
        """Return the events written since the last call; empty without new events or without a file."""
        if not self.path.is_file():
            return []
        with self.path.open("rb") as file:
            file.seek(self._offset)
            content = file.read()
        self._offset += len(content)
        *lines, self._rest = (self._rest + content).split(b"\n")
        events = []
        for line in lines:
            try:
                event = json.loads(line)
            except ValueError:  # also what UnicodeDecodeError is
                continue
            if isinstance(event, dict):
                events.append(event)
        return events
