"""Each tracker's own package receives a run, and the run does not depend on it."""

from __future__ import annotations

import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import pytest
from tests.track.conftest import ARMS, Hashes, Place, variables
from tests.track.received import RECEIVED, of_run

from autophage.store.rundir import RunDirectory, read_events

pytestmark = pytest.mark.thorough

TRACKERS = [
    pytest.param(name, marks=pytest.mark.skipif(find_spec(name) is None, reason=f"{name} is not installed"))
    for name in RECEIVED
]


def require_all(run: RunDirectory, place: Place, tracker: str) -> None:
    """The tracker has each point of the run, with its value, and no other."""
    wanted, found = of_run(run, ARMS), RECEIVED[tracker](place.folder, place.uri)
    assert sum(map(len, wanted.values())) > 100
    assert {arm: set(points) for arm, points in found.items()} == {arm: set(points) for arm, points in wanted.items()}
    for arm, points in wanted.items():
        assert found[arm] == pytest.approx(points, rel=1e-6)  # TensorBoard keeps float32


def notes(run: RunDirectory) -> list[str]:
    return [event["text"] for event in read_events(run.events) if event["kind"] == "note"]


@pytest.mark.parametrize("tracker", TRACKERS)
def test_a_tracker_receives_every_metric_with_its_interval(tracker: str, place: Place) -> None:
    place.recipe()
    run = place.run(place.root / "run", *place.settings(tracker))
    require_all(run, place, tracker)
    assert not [note for note in notes(run) if tracker in note]


@pytest.mark.parametrize("tracker", TRACKERS)
def test_a_finished_run_is_replayed(tracker: str, place: Place) -> None:
    place.recipe()
    run = place.run(place.root / "run")
    assert not (run.root / "track").exists()
    settings = place.settings(tracker)[2:]
    done = place.autophage("track", run.root, "--to", tracker, *settings)
    assert (done.returncode, done.stdout.strip()) == (0, f"sent to {tracker}"), done.stderr
    require_all(run, place, tracker)


@pytest.mark.parametrize("tracker", TRACKERS)
def test_a_killed_and_resumed_run_continues_its_tracker_runs(tracker: str, place: Place, hashes: Hashes) -> None:
    """The killed run's follower sends what was committed. The resumed run's follower sends the rest into the same runs."""
    recipe, out = place.recipe(generations=12, repetitions=200), place.root / "run"
    command = [sys.executable, "-m", "autophage", "run", str(recipe), "--out", str(out), *place.settings(tracker)]
    process = subprocess.Popen(command, env=variables(), cwd=place.root, stdout=subprocess.DEVNULL)
    while process.poll() is None and len(list(out.glob("arms/*/*/manifest.json"))) < 8:
        time.sleep(0.02)
    assert process.poll() is None, "the run ended before it was killed"
    process.send_signal(signal.SIGKILL)
    process.wait()
    run = place.run(out, *place.settings(tracker))
    require_all(run, place, tracker)
    whole = place.run(place.root / "whole")
    assert hashes(out) == hashes(whole.root)


@pytest.mark.parametrize("tracker", TRACKERS)
def test_a_generation_is_sent_once(tracker: str, place: Place) -> None:
    place.recipe()
    run = place.run(place.root / "run", *place.settings(tracker))
    before = (run.root / "track" / f"{tracker}.json").read_text("utf-8")
    sent = json.loads(before)["sent"]
    assert {arm: len(digests) for arm, digests in sent.items()} == dict.fromkeys(ARMS, 4)
    stored = {path: path.stat().st_size for path in place.folder.glob("tensorboard/*/*/*")}
    done = place.autophage("track", run.root, "--to", tracker, *place.settings(tracker)[2:])
    assert done.returncode == 0, done.stderr
    assert (run.root / "track" / f"{tracker}.json").read_text("utf-8") == before
    assert {path: path.stat().st_size for path in stored} == stored
    require_all(run, place, tracker)


class Hanging(http.server.BaseHTTPRequestHandler):
    """Answers nothing."""

    def do_GET(self) -> None:
        time.sleep(600)

    do_POST = do_GET  # noqa: N815  # the name that the standard library looks for


@pytest.fixture(params=["refuses", "hangs", "says nonsense"])
def broken(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a server that is down, that accepts and never answers, or that is none of mlflow."""
    if request.param == "refuses":
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            yield f"http://127.0.0.1:{taken.getsockname()[1]}"
        return
    handler = Hanging if request.param == "hangs" else http.server.SimpleHTTPRequestHandler
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.mark.skipif(find_spec("mlflow") is None, reason="mlflow is not installed")
def test_a_broken_server_is_one_note_and_changes_nothing(broken: str, place: Place, hashes: Hashes) -> None:
    place.recipe()
    whole = place.run(place.root / "whole")
    began = time.monotonic()
    run = place.run(place.root / "run", *place.settings("mlflow", uri=broken), "--set", "track.wait=8")
    assert time.monotonic() - began < 60
    assert hashes(run.root) == hashes(whole.root)
    told = [note for note in notes(run) if "mlflow" in note]
    assert len(told) == 1
    assert told[0].endswith(f"`autophage track {run.root} --to mlflow` sends what is missing")
    done = place.autophage("track", run.root, "--to", "mlflow", "--set", f"track.mlflow_uri={place.uri}")
    assert done.returncode == 0, done.stderr
    require_all(run, place, "mlflow")


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.skipif(find_spec("mlflow") is None, reason="mlflow is not installed")
def test_a_server_that_stops_in_the_middle_changes_nothing(place: Place, hashes: Hashes) -> None:
    recipe, out = place.recipe(generations=60, repetitions=400), place.root / "run"
    whole = place.run(place.root / "whole")
    with mlflow_server(place) as (server, uri):
        command = [sys.executable, "-m", "autophage", "run", str(recipe), "--out", str(out)]
        command += place.settings("mlflow", uri=uri)
        process = subprocess.Popen(command, env=variables(), cwd=place.root, stdout=subprocess.DEVNULL)
        while process.poll() is None and not (out / "track" / "mlflow.json").exists():
            time.sleep(0.05)
        assert process.poll() is None, "the run ended before the server"
        os.killpg(server.pid, signal.SIGKILL)
        assert process.wait() == 0
    run = RunDirectory(out)
    assert hashes(out) == hashes(whole.root)
    assert len([note for note in notes(run) if "mlflow" in note]) == 1
    with mlflow_server(place) as (_, uri):
        done = place.autophage("track", out, "--to", "mlflow", "--set", f"track.mlflow_uri={uri}")
        assert done.returncode == 0, done.stderr
    require_all(run, place, "mlflow")


@contextmanager
def mlflow_server(place: Place) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", place.uri, "--artifacts-destination", str(place.root / "artifacts")]
    server = subprocess.Popen(command, cwd=place.root, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except OSError:
                time.sleep(0.5)
        yield server, f"http://127.0.0.1:{port}"
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


@pytest.mark.parametrize("tracker", TRACKERS)
def test_no_secret_of_the_environment_is_written(tracker: str, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {
        "WANDB_API_KEY": "0123456789abcdef0123456789abcdef01234567",
        "HF_TOKEN": "hf_" + "x" * 34,
        "MLFLOW_TRACKING_PASSWORD": "correct-horse-battery",
        "MLFLOW_TRACKING_TOKEN": "staple-of-letters-77",
    }
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    place.recipe()
    run = place.run(place.root / "run", *place.settings(tracker), "--set", "track.samples=2")
    written = [path for path in place.root.rglob("*") if path.is_file()]
    assert len(written) > 20
    leaks = [path for path in written for value in secrets.values() if value.encode() in path.read_bytes()]
    assert leaks == []
    require_all(run, place, tracker)


def test_a_missing_package_is_one_note(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of packages are looked up in a folder without them: no package is installed there."""
    absent = [name for name in RECEIVED if find_spec(name) is None]
    if not absent:
        pytest.skip("every tracker is installed")
    place.recipe()
    run = place.run(place.root / "run", "--set", f'track.to=["{absent[0]}"]')
    told = notes(run)
    assert len(told) == 1
    assert f"pip install 'autophage[{absent[0]}]'" in told[0]
    done = place.autophage("track", run.root, "--to", absent[0])
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
