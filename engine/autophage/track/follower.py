"""A process that follows one run for one tracker: it sends what is committed until the run's process ends.

The run's process is at the other end of two pipes. The end of standard input says that it is over. Standard output tells it of
failures, one a line. Everything else that the tracker's package prints goes to `RUN/logs/track-TRACKER.log`. Nothing that
happens here reaches the run: every call has a time limit, and a failure is told once and tried again.
"""

from __future__ import annotations

import os
import select
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from autophage.errors import first_line
from autophage.host.credentials import without_credentials
from autophage.recipe.tables.track import Tracker, TrackTable
from autophage.store.lock import one_at_a_time
from autophage.store.rundir import RunDirectory
from autophage.track.ledger import FOLDER, Ledger, destination, ledger_path, read_ledger
from autophage.track.reading import RunReader, has_begun
from autophage.track.sinks import open_sink
from autophage.track.sinks.protocol import Sink

POLL_SECONDS = 1.0
AT_ONCE = 16
"""Most generations between two entries in the ledger."""
CALL_SECONDS = 60.0
"""Longest call of a tracker. One that takes longer hangs, and the process ends."""
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 60.0
"""Seconds before a failed delivery is tried again. They double with each failure."""
LAST_TRIES = 2
"""Failures in a row after the end of the run, after which the process gives up."""
FAILED, DELIVERED = "- ", "+ "
"""Beginnings of the lines that tell the run's process of a failure with its reason, and of a delivery after one."""
HUNG = 3
"""Exit code of a process whose tracker hangs."""

RunOver = Callable[[float], bool]
"""Waits for at most so many seconds. Returns True if the run's process has ended."""


class CallLimit:
    """End this process if a call of a tracker takes too long. A hung call cannot be interrupted otherwise."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._deadline: float | None = None
        threading.Thread(target=self._watch, daemon=True).start()

    @contextmanager
    def limit(self, seconds: float) -> Iterator[None]:
        """Allow the body so many seconds."""
        self._deadline = time.monotonic() + seconds
        try:
            yield
        finally:
            self._deadline = None

    def _watch(self) -> None:
        while True:
            time.sleep(POLL_SECONDS / 2)
            if (deadline := self._deadline) is not None and time.monotonic() > deadline:
                self._tell(f"{FAILED}it did not answer for {CALL_SECONDS:.0f} s")
                os._exit(HUNG)


class Follower:
    """Sends one run to one tracker.

    `tell` receives a line for the first failure in a row, and one for the delivery after it.
    """

    def __init__(self, run: RunDirectory, tracker: Tracker, table: TrackTable, tell: Callable[[str], None]) -> None:
        self._run, self._tracker, self._table, self._tell = run, tracker, table, tell
        self._folder = run.root / FOLDER
        self._path = ledger_path(run, tracker)
        self._calls = CallLimit(tell)
        self._sink: Sink | None = None
        self._ledger: Ledger | None = None
        self._reader: RunReader | None = None

    def follow(self, ended: RunOver) -> bool:
        """Send what is committed until the run's process has ended. Return True if the tracker has everything."""
        failures, pause = 0, 0.0
        while True:
            over = ended(pause)
            if not over and not has_begun(self._run):  # the identity follows from the first event
                pause = POLL_SECONDS
                continue
            try:
                self._reader = self._reader or RunReader(self._run, self._table)
                sink, ledger = self._opened(self._reader)
                self._deliver(self._reader, sink, ledger)
                if over:
                    self._finish(self._reader, sink, ledger)
                    return True
                if failures:
                    self._tell(DELIVERED)
                failures, pause = 0, POLL_SECONDS
            except Exception as error:  # whatever a tracker's package raises: the local files stay the truth
                traceback.print_exc()
                self._sink = self._ledger = None
                if failures == 0:
                    self._tell(f"{FAILED}{type(error).__name__}: {first_line(error)}")
                failures += 1
                pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2**failures)
                if over and failures >= LAST_TRIES:
                    return False
                if over:
                    time.sleep(POLL_SECONDS)

    def _opened(self, reader: RunReader) -> tuple[Sink, Ledger]:
        """Return the open tracker and its ledger. After a failure both are opened again."""
        if self._sink is None or self._ledger is None:
            self._ledger = read_ledger(self._path, destination(self._tracker, self._table))
            with self._calls.limit(CALL_SECONDS):
                sink = open_sink(self._tracker, self._table, self._folder)
            for arm in reader.arms.values():
                with self._calls.limit(CALL_SECONDS):
                    sink.begin(arm)
            self._sink = sink
        return self._sink, self._ledger

    def _deliver(self, reader: RunReader, sink: Sink, ledger: Ledger) -> None:
        """Send the generations that the ledger lacks."""
        held = 0
        for arm, made, digest in reader.unsent(ledger):
            with self._calls.limit(CALL_SECONDS):
                sink.send(arm, made)
            ledger.sent[arm.name].append(digest)
            held += 1
            if held >= AT_ONCE:
                self._flush(sink, ledger)
                held = 0
        if held:
            self._flush(sink, ledger)

    def _flush(self, sink: Sink, ledger: Ledger) -> None:
        with self._calls.limit(CALL_SECONDS):
            received = sink.flush()
        if received:
            ledger.save(self._path)

    def _finish(self, reader: RunReader, sink: Sink, ledger: Ledger) -> None:
        """Send the report and end the tracker runs."""
        with tempfile.TemporaryDirectory() as folder, self._calls.limit(CALL_SECONDS):
            if (found := reader.report(ledger, Path(folder))) is not None:
                sink.attach(found[0])
                ledger.report = found[1]
            sink.end(reader.outcome())
        ledger.save(self._path)


def main(run: RunDirectory, tracker: Tracker, table: TrackTable, seconds: float | None) -> int:
    """Follow a run in this process, from its standard input's begin to its end. Return 0 if the tracker has everything.

    Args:
        seconds: Longest time from the end of the run's process to the end of this one. None sets no limit.
    """
    notes = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    _log_output(run.logs / f"track-{tracker}.log")
    os.nice(19)

    def tell(line: str) -> None:
        try:
            print(without_credentials(" ".join(line.splitlines())), file=notes)
        except OSError:  # the run's process is gone
            traceback.print_exc()

    def ended(wait: float) -> bool:
        return bool(select.select([0], [], [], wait)[0]) and os.read(0, 1) == b""

    follower = Follower(run, tracker, table, tell)
    if seconds is not None:
        threading.Thread(target=_end_in_time, args=(seconds,), daemon=True).start()
    (run.root / FOLDER).mkdir(exist_ok=True)
    with one_at_a_time(run.root / FOLDER / f".{tracker}.lock"):
        complete = follower.follow(ended)
    sys.stdout.flush()
    return 0 if complete else 1


def _end_in_time(seconds: float) -> None:
    """End this process so many seconds after its parent. A package may wait for ever when it ends."""
    parent = os.getppid()
    while os.getppid() == parent and not _closed():
        time.sleep(POLL_SECONDS)
    time.sleep(seconds)
    os._exit(HUNG)


def _closed() -> bool:
    """Return True if the other end of standard input is closed."""
    poll = select.poll()
    poll.register(0, select.POLLHUP)
    return any(event & select.POLLHUP for _, event in poll.poll(0))


def _log_output(path: Path) -> None:
    """Send standard output and standard error of this process and its children to a log, without credentials."""
    path.parent.mkdir(exist_ok=True)
    reading, writing = os.pipe()
    for number in (1, 2):
        os.dup2(writing, number)
    os.close(writing)
    threading.Thread(target=_copy_lines, args=(reading, path), daemon=True).start()


def _copy_lines(reading: int, path: Path) -> None:
    """Copy lines to a log. A log that cannot be written is given up; the pipe is read on, so that no writer waits."""
    with os.fdopen(reading, encoding="utf-8", errors="replace") as lines, path.open("a", encoding="utf-8") as log:
        for line in lines:
            with suppress(OSError):
                log.write(without_credentials(line))
                log.flush()
