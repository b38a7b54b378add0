"""A follower survives its tracker: failures are told once, tried again, and end in time."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.made_runs import RunMaker, commit

from autophage.recipe.tables.track import TrackTable
from autophage.store.rundir import RunDirectory
from autophage.track import follower
from autophage.track.follower import DELIVERED, FAILED, HUNG, Follower
from autophage.track.ledger import destination, ledger_path, read_ledger
from autophage.track.processes import Followers
from autophage.track.records import MadeGeneration, TrackedArm

TABLE = TrackTable(to=["mlflow"])


class Kept:
    """A tracker that keeps what it receives, and that fails as often as it is told to."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.sent: list[tuple[str, int]] = []
        self.ends: list[str] = []
        self.failures = 0
        self.confirms = True

    def begin(self, arm: TrackedArm) -> None:
        self.begun.append(arm.name)

    def send(self, arm: TrackedArm, made: MadeGeneration) -> None:
        if self.failures:
            self.failures -= 1
            raise ConnectionError("refused\nby the server")
        self.sent.append((arm.name, made.generation))

    def flush(self) -> bool:
        return self.confirms

    def attach(self, report: Path) -> None: ...

    def end(self, outcome: str) -> None:
        self.ends.append(outcome)


@pytest.fixture
def tracker(monkeypatch: pytest.MonkeyPatch) -> Kept:
    kept = Kept()
    monkeypatch.setattr(follower, "open_sink", lambda *_: kept)
    for name in ("POLL_SECONDS", "FIRST_PAUSE"):
        monkeypatch.setattr(follower, name, 0.01)
    return kept


def test_what_is_committed_later_follows(tracker: Kept, make_run: RunMaker) -> None:
    run = make_run(end="", main=1)
    polls = iter([False, False, True])

    def over(wait: float) -> bool:
        ended = next(polls)
        if ended:
            commit(run, "main", 1)
        return ended

    told: list[str] = []
    assert Follower(run, "mlflow", TABLE, told.append).follow(over)
    assert (tracker.begun, tracker.sent) == (["main", "control"], [("main", 0), ("main", 1)])
    assert (tracker.ends, told) == (["interrupted"], [])


def test_a_failure_is_told_once_and_tried_again(tracker: Kept, make_run: RunMaker) -> None:
    tracker.failures = 3
    told: list[str] = []
    polls = iter([False] * 4 + [True])
    assert Follower(make_run(main=2), "mlflow", TABLE, told.append).follow(lambda _: next(polls))
    assert tracker.sent == [("main", 0), ("main", 1)]
    assert told == [f"{FAILED}ConnectionError: refused", DELIVERED]


def test_a_tracker_that_stays_down_is_given_up_after_the_end(tracker: Kept, make_run: RunMaker) -> None:
    tracker.failures = 100
    told: list[str] = []
    run = make_run(main=2)
    assert not Follower(run, "mlflow", TABLE, told.append).follow(lambda _: True)
    assert len(told) == 1
    assert read_ledger(ledger_path(run, "mlflow"), destination("mlflow", TABLE)).sent == {}


def test_a_tracker_that_confirms_nothing_before_its_end_has_nothing_before(tracker: Kept, make_run: RunMaker) -> None:
    tracker.confirms = False
    run = make_run(main=2)
    path, place = ledger_path(run, "mlflow"), destination("mlflow", TABLE)
    polls = iter([False, False, True])
    before: list[dict[str, list[str]]] = []

    def over(wait: float) -> bool:
        before.append(read_ledger(path, place).sent)
        return next(polls)

    assert Follower(run, "mlflow", TABLE, lambda _: None).follow(over)
    assert before == [{}, {}, {}]
    assert len(read_ledger(path, place).sent["main"]) == 2
    assert tracker.sent == [("main", 0), ("main", 1)]


def test_a_run_is_known_by_its_first_event(tracker: Kept, make_run: RunMaker) -> None:
    """The follower is started a moment before that event is written."""
    run = make_run(main=1)
    history = run.events.read_bytes()
    run.events.unlink()
    polls = iter([False, False, True])
    begun: list[list[str]] = []

    def over(wait: float) -> bool:
        begun.append(list(tracker.begun))
        if len(begun) == 3:
            run.events.write_bytes(history)
        return next(polls)

    assert Follower(run, "mlflow", TABLE, lambda _: None).follow(over)
    assert begun == [[], [], []]
    assert tracker.sent == [("main", 0)]


def test_pauses_grow(tracker: Kept, make_run: RunMaker) -> None:
    tracker.failures = 100
    pauses: list[float] = []

    def over(wait: float) -> bool:
        pauses.append(wait)
        return len(pauses) > 14

    Follower(make_run(main=1), "mlflow", TABLE, lambda _: None).follow(over)
    assert pauses[1:5] == pytest.approx([0.02, 0.04, 0.08, 0.16])
    assert max(pauses) == follower.LONGEST_PAUSE


HANGS = """
import sys, time
from pathlib import Path
from autophage.recipe.tables.track import TrackTable
from autophage.store.rundir import RunDirectory
from autophage.track import follower
follower.CALL_SECONDS = 0.2
follower.open_sink = lambda *_: time.sleep(60)
run = RunDirectory(Path(sys.argv[1]))
follower.Follower(run, "mlflow", TrackTable(), lambda line: print(line, flush=True)).follow(lambda _: False)
"""


def test_a_call_that_hangs_ends_the_process(make_run: RunMaker) -> None:
    began = time.monotonic()
    command = [sys.executable, "-c", HANGS, str(make_run(main=1).root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.startswith(f"{FAILED}it did not answer")) == (HUNG, True), done.stderr
    assert time.monotonic() - began < 30


def test_a_process_that_dies_is_one_note(make_run: RunMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    """`wait` is long, and it is not used: a follower that failed is not waited for."""
    monkeypatch.setattr("autophage.track.processes.missing", lambda _: None)
    monkeypatch.setattr("autophage.track.processes.sys.executable", "/bin/false")
    run = make_run(main=1)
    followers = Followers(run, TrackTable(to=["mlflow", "wandb"], wait=600))
    followers.start()
    began = time.monotonic()
    notes = followers.finish()
    assert time.monotonic() - began < 30
    assert [note.partition(" ")[0] for note in notes] == ["mlflow", "wandb"]
    assert all("its process ended with code 1" in note for note in notes)
    assert followers.notes() == []


def test_a_program_that_cannot_be_started_is_one_note(make_run: RunMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autophage.track.processes.missing", lambda _: None)
    monkeypatch.setattr("autophage.track.processes.sys.executable", "/nowhere")
    followers = Followers(make_run(main=1), TABLE)
    followers.start()
    assert ["No such file" in note for note in followers.finish()] == [True]


def test_nothing_is_started_unless_asked_for(make_run: RunMaker) -> None:
    run: RunDirectory = make_run(main=1)
    followers = Followers(run, TrackTable())
    followers.start()
    assert followers.finish() == []
    assert not (run.root / "track").exists()
