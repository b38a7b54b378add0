"""Actors that die or hang, dead engines in living processes, and schedulers that reclaim a machine."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.watched import actor, begun, history, marked, wait_for

FAULTS = Path(__file__).with_name("faults")
Contents = Callable[[Path], dict[str, object]]
Run = Callable[..., "subprocess.CompletedProcess[str]"]

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(900)]


def is_at(stage: str, generation: int) -> Callable[[list[dict[str, Any]]], bool]:
    """True while a stage of this kind runs."""

    def when(events: list[dict[str, Any]]) -> bool:
        running = set()
        for event in events:
            place = (event.get("arm"), event.get("generation"), event.get("stage"))
            if event["kind"] == "stage-start":
                running.add(place)
            elif event["kind"] in ("stage-end", "stage-lost"):
                running.discard(place)
        return any(place[1:] == (generation, stage) for place in running)

    return when


def restarts(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in events if event["kind"] == "restart"]


def kill(process: subprocess.Popen[str], out: Path, kind: str, stage: str, generation: int) -> None:
    """Kill an actor in a stage, and wait until the run reports it."""
    wait_for(process, out, is_at(stage, generation))
    before = len(restarts(history(out)))
    os.kill(actor(out, kind), signal.SIGKILL)
    wait_for(process, out, lambda events: len(restarts(events)) > before)


def test_actors_that_die_are_started_again_and_the_run_goes_on(
    smoke_run: Path, contents: Contents, variables: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    with begun(out, variables) as process:
        kill(process, out, "SamplerActor", "sample", 0)
        kill(process, out, "TrainerActor", "train", 1)
        kill(process, out, "TrainerActor", "measure", 1)
        kill(process, out, "SamplerActor", "swap", 2)
        said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said[-3000:]
    told = restarts(history(out))
    assert [event["actors"] for event in told] == [["the sampler"], ["the trainer"], ["the trainer"], ["the sampler"]]
    assert said.count("Restarting it") == 4
    assert contents(out) == contents(smoke_run)
    for path in out.glob("arms/*/gen-*/metrics.json"):
        names = [row["metric"] for row in json.loads(path.read_text("utf-8"))]
        assert len(names) == len(set(names)), "a stage that was done twice is measured twice"
    assert marked(out) == {}


@pytest.mark.long
def test_both_sides_at_once_and_while_they_start(
    smoke_run: Path, contents: Contents, variables: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    with begun(out, variables, "devices=disjoint", "cluster.restarts=10") as process:
        os.kill(actor(out, "TrainerActor"), signal.SIGKILL)  # before it has its model
        wait_for(process, out, is_at("train", 1))
        os.kill(actor(out, "TrainerActor"), signal.SIGKILL)
        os.kill(actor(out, "SamplerActor"), signal.SIGKILL)
        wait_for(process, out, lambda events: len(restarts(events)) >= 2)
        os.kill(actor(out, "TrainerActor"), signal.SIGKILL)  # on its way back
        said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said[-3000:]
    assert contents(out) == contents(smoke_run)


@pytest.mark.long
def test_training_that_began_early_goes_with_its_sampler(
    contents: Contents, autophage: Run, variables: dict[str, str], tmp_path: Path
) -> None:
    alone = ["sweep={}", "control.enabled=false", "sample.count=240", "sample.concurrency=16", "train.batch_size=4"]
    plain, out = tmp_path / "plain", tmp_path / "killed"
    assert autophage("run", "smoke", *(w for one in alone for w in ("--set", one)), "--out", plain).returncode == 0
    with begun(out, variables, "devices=disjoint", *alone) as process:
        wait_for(process, out, lambda events: is_at("sample", 0)(events) and is_at("train", 1)(events))
        os.kill(actor(out, "SamplerActor"), signal.SIGKILL)
        said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said[-3000:]
    lost = {(one["stage"], one["generation"]) for one in history(out) if one["kind"] == "stage-lost"}
    assert lost == {("sample", 0), ("train", 1)}
    assert contents(out) == contents(plain)


@pytest.mark.long
def test_beyond_the_budget_the_run_ends_and_says_who_died(
    smoke_run: Path, contents: Contents, autophage: Run, variables: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "spent"
    with begun(out, variables, "cluster.restarts=0") as process:
        wait_for(process, out, is_at("train", 1))
        os.kill(actor(out, "TrainerActor"), signal.SIGKILL)
        said, _ = process.communicate(timeout=120)
    assert process.returncode == 1, said[-3000:]
    [error] = re.findall(r"^error: (.*)$", said, flags=re.MULTILINE)
    assert error.startswith("the trainer died (its process crashed or was killed from outside")
    assert str(out / "logs" / "trainer.log") in error
    assert "cluster.restarts" in error
    assert "Traceback" not in said
    assert marked(out) == {}
    assert autophage("run", "smoke", "--out", out).returncode == 0
    assert contents(out) == contents(smoke_run)


def spoiled(variables: dict[str, str], fault: str, place: Path) -> dict[str, str]:
    """Return the environment of a run in which one actor fails once."""
    once = place / "once"
    once.mkdir()
    paths = os.pathsep.join(filter(None, [str(FAULTS), os.environ.get("PYTHONPATH", "")]))
    return {**variables, "PYTHONPATH": paths, "AUTOPHAGE_TEST_FAULT": fault, "AUTOPHAGE_TEST_ONCE": str(once)}


@pytest.mark.parametrize("who", ["sampler", pytest.param("trainer", marks=pytest.mark.long)])
def test_a_call_that_hangs_ends_with_a_name_and_a_stack(who: str, variables: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "hung"
    with begun(out, spoiled(variables, f"{who}-hangs", tmp_path), "cluster.patience=6") as process:
        said, _ = process.communicate(timeout=300)
    assert process.returncode == 1, said[-3000:]
    assert re.search(rf"error: the {who} made no progress for \d+ s in stage \w+ of \S+, generation \d", said), said[
        -3000:
    ]
    assert "in lost_in_thought" in said
    assert "lost_in_thought" in (out / "logs" / f"{who}.log").read_text("utf-8")
    assert "Traceback" not in said
    assert marked(out) == {}


@pytest.mark.long
def test_a_process_that_is_stopped_is_named_and_taken_along(variables: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "stopped"
    with begun(out, variables, "cluster.patience=6") as process:
        wait_for(process, out, is_at("sample", 1))
        os.kill(actor(out, "SamplerActor"), signal.SIGSTOP)
        said, _ = process.communicate(timeout=300)
    assert process.returncode == 1, said[-3000:]
    assert "error: the sampler" in said
    assert "stopped (SIGSTOP)" in said
    assert marked(out) == {}


@pytest.mark.long
def test_where_ray_itself_dies_the_run_ends_and_goes_on_later(
    smoke_run: Path, contents: Contents, autophage: Run, variables: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "without-ray"
    with begun(out, variables) as process:
        wait_for(process, out, is_at("sample", 1))
        [raylet] = [pid for pid, command in marked(out).items() if "/raylet/raylet " in command]
        os.kill(raylet, signal.SIGKILL)
        said, _ = process.communicate(timeout=200)
    assert process.returncode == 1, said[-3000:]
    assert re.search(r"^error: .*Ray", said, flags=re.MULTILINE), said[-3000:]
    assert "Traceback" not in said
    assert marked(out) == {}
    assert autophage("run", "smoke", "--out", out).returncode == 0
    assert contents(out) == contents(smoke_run)


@pytest.mark.parametrize("fault", ["engine-writes-nothing", "engine-raises"])
@pytest.mark.long
def test_an_engine_that_is_dead_in_a_living_process_is_replaced(
    fault: str, smoke_run: Path, contents: Contents, variables: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "dead"
    with begun(out, spoiled(variables, fault, tmp_path), "cluster.patience=6") as process:
        said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said[-3000:]
    [told] = restarts(history(out))
    assert told["actors"] == ["the sampler"]
    assert "the sampler's engine is dead: vLLM" in told["cause"]
    assert contents(out) == contents(smoke_run)


def test_a_scheduler_that_wants_the_machine_back_gets_it_with_commits_and_code_75(
    smoke_run: Path, contents: Contents, autophage: Run, variables: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "drained"
    with begun(out, variables) as process:
        wait_for(process, out, is_at("train", 1))
        process.send_signal(signal.SIGUSR1)
        said, _ = process.communicate(timeout=120)
    assert process.returncode == 75, said[-3000:]
    events = history(out)
    [note] = [place for place, one in enumerate(events) if one["kind"] == "note" and "SIGUSR1" in one["text"]]
    training = [one["arm"] for one in events[:note] if (one["kind"], one.get("stage")) == ("stage-start", "train")]
    assert (out / "arms" / training[-1] / "gen-001" / "manifest.json").is_file(), "what was in hand was not committed"
    assert all(one.get("stage") != "train" for one in events[note:] if one["kind"] == "stage-start")
    assert events[-1]["kind"] == "interrupted"
    assert marked(out) == {}
    assert autophage("run", "smoke", "--out", out).returncode == 0
    assert contents(out) == contents(smoke_run)


def test_ctrl_c_twice_leaves_nothing_behind(variables: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "stopped"
    with begun(out, variables) as process:
        wait_for(process, out, is_at("sample", 1))
        shared = shared_memory(out)
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.2)
        os.killpg(process.pid, signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said[-3000:]
    assert "Traceback" not in said
    assert marked(out) == {}
    assert [path for path in shared if path.exists()] == []
    for folder in {Path(tempfile.gettempdir()), Path("/tmp")}:
        assert list(folder.glob(f"autophage-*{process.pid}-*")) == []
    assert list(out.rglob("*.partial")) == []


def shared_memory(out: Path) -> set[Path]:
    """Return the files in shared memory that processes of this run have mapped."""
    found = set()
    for pid in marked(out):
        try:
            lines = Path(f"/proc/{pid}/maps").read_text("utf-8").splitlines()
        except OSError:
            continue
        found |= {Path(line.split(maxsplit=5)[5]) for line in lines if "/dev/shm/" in line and "(deleted)" not in line}
    return found
