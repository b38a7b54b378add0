"""Contract between a follower and a tracker."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from autophage.track.records import MadeGeneration, TrackedArm


class Sink(Protocol):
    """One tracker. Any method may raise whatever its package raises; the follower then opens a new sink later.

    A generation or report may arrive twice, with the same values.
    """

    def begin(self, arm: TrackedArm) -> None:
        """Begin the tracker run of an arm with its settings and group, or continue it. Called once for each arm."""

    def send(self, arm: TrackedArm, made: MadeGeneration) -> None:
        """Send one generation, now or with the next flush."""

    def flush(self) -> bool:
        """Send generations that were held back. Return True if the tracker has all of them, False if `end` will tell."""

    def attach(self, report: Path) -> None:
        """Attach the report to the group, or to the run of its first arm."""

    def end(self, outcome: str) -> None:
        """End the tracker runs and send what is left. `outcome` is finished, failed or interrupted."""
