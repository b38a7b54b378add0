"""Start, hear and end the followers of a run: one process for each tracker.

The run's process never waits for a follower while it makes generations. At its end it waits for those that still send, for at
most `track.wait` seconds. A follower leads its own session, so that Ctrl-C and a hung package stay apart.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from autophage.recipe.tables.track import Tracker, TrackTable
from autophage.store.rundir import RunDirectory
from autophage.track.follower import FAILED
from autophage.track.sinks import missing

POLL_SECONDS = 0.05
LEFT_SECONDS = 60.0
"""Longest time that a follower goes on after a run that was stopped."""
LIMITS = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "20", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "WANDB_HTTP_TIMEOUT": "20"}
"""Environment variables that limit requests. The packages' own defaults retry for minutes. The user's values take precedence."""
QUIET = {
    "CUDA_VISIBLE_DEVICES": "",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_SILENT": "true",
}
"""Environment variables that keep trackers from GPUs, from printing addresses, and from telemetry of their own."""


@dataclass
class FollowerProcess:
    """The process of one follower. `failed` is True while its tracker fails, `told` once the user knows."""

    tracker: Tracker
    process: subprocess.Popen[bytes]
    failed: bool = False
    told: bool = False
    rest: bytes = b""

    def heard(self) -> str | None:
        """Read what the follower said since the last call, without waiting. Return the reason of its first failure."""
        ended = self.process.poll()
        reasons = []
        for line in self._lines():
            self.failed = line.startswith(FAILED)
            reasons += [line.removeprefix(FAILED)] * self.failed
        if ended not in (None, 0) and not self.failed:
            self.failed = True
            reasons.append(f"its process ended with code {ended}; its log is logs/track-{self.tracker}.log")
        if self.told or not reasons:
            return None
        self.told = True
        return reasons[0]

    def _lines(self) -> list[str]:
        assert self.process.stdout is not None
        while True:
            try:
                piece = os.read(self.process.stdout.fileno(), 65536)
            except BlockingIOError:
                break
            if not piece:
                break
            self.rest += piece
        *lines, self.rest = self.rest.split(b"\n")
        return [line.decode("utf-8", "replace") for line in lines]

    def let_go(self) -> None:
        """Tell the follower that the run's process is over."""
        if self.process.stdin is not None and not self.process.stdin.closed:
            self.process.stdin.close()

    def kill(self) -> None:
        """End the follower and the processes that its tracker started."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Followers:
    """Followers of a run, from `start` to `finish` or `abandon`. None are started unless the table names trackers."""

    def __init__(self, run: RunDirectory, table: TrackTable) -> None:
        self._run, self._table = run, table
        self._notes: list[str] = []
        self._processes: list[FollowerProcess] = []

    def start(self, *, limited: bool = True) -> None:
        """Start a follower for each tracker whose package is installed. No failure is raised; it becomes a note.

        Args:
            limited: End a follower some time after this process ends.
        """
        for tracker in self._table.to:
            if message := missing(tracker):
                self._notes.append(self._words(tracker, message.rstrip(".")))
                continue
            seconds = self._table.wait + LEFT_SECONDS if limited else None
            try:
                self._processes.append(FollowerProcess(tracker, self._begun(tracker, seconds)))
            except OSError as error:
                self._notes.append(self._words(tracker, str(error)))

    def _begun(self, tracker: Tracker, seconds: float | None) -> subprocess.Popen[bytes]:
        asked = {"run": str(self._run.root.absolute()), "tracker": tracker, "seconds": seconds}
        words = json.dumps({**asked, "table": self._table.model_dump()})
        process = subprocess.Popen(
            [sys.executable, "-m", "autophage.track", words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**LIMITS, **os.environ, **QUIET},
        )
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        return process

    def notes(self) -> list[str]:
        """Return the notes for the user since the last call, without waiting."""
        found, self._notes = self._notes, []
        for one in self._processes:
            if reason := one.heard():
                found.append(self._words(one.tracker, reason))
        return found

    def _words(self, tracker: Tracker, reason: str) -> str:
        again = f"`autophage track {self._run.root} --to {tracker}` sends what is missing"
        return f"{tracker} did not receive everything ({reason}). The run does not depend on it; {again}"

    def finish(self) -> list[str]:
        """Wait until the followers have sent the rest, at most `track.wait` seconds. Return the notes for the user.

        A follower that failed before is not waited for.
        """
        deadline = time.monotonic() + self._table.wait
        reason = f"not done {self._table.wait:g} s after the end of the run"
        found = []
        try:
            found = self.wait(lambda: time.monotonic() > deadline, patient=False)
        except KeyboardInterrupt:  # the run is over; only the wait ends
            reason = "interrupted after the end of the run"
        for one in self._processes:
            if one.process.poll() is None and not one.told:
                found.append(self._words(one.tracker, reason))
        self.abandon(kill=True)
        return found

    def wait(self, given_up: Callable[[], bool], *, patient: bool) -> list[str]:
        """Let the followers end, and wait for them until `given_up` returns True. Return the notes for the user.

        Args:
            patient: Wait for followers that failed too.
        """
        found: list[str] = []
        for one in self._processes:
            one.let_go()
        while True:
            found += self.notes()
            if given_up() or all(
                one.process.poll() is not None or (one.failed and not patient) for one in self._processes
            ):
                return found + self.notes()
            time.sleep(POLL_SECONDS)

    @property
    def complete(self) -> bool:
        """True if every tracker received everything."""
        return len(self._processes) == len(self._table.to) and all(one.process.poll() == 0 for one in self._processes)

    def abandon(self, *, kill: bool) -> None:
        """Leave the followers. They go on for some time, unless they are killed."""
        for one in self._processes:
            one.let_go()
            if kill:
                one.kill()
            if one.process.stdout is not None:
                one.process.stdout.close()
        self._processes = []
