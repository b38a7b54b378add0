"""The V2 model runner serves, records and recovers as a GPU's engine must. Each scenario is a process of its own (`rig`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

from autophage.host import vllm_window

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(600)]

HERE = Path(__file__).parent


def play(scenario: str) -> dict[str, Any]:
    """Run a scenario and return its findings. Whatever happened, the engine was vLLM's V2 runner as on a GPU."""
    paths = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-m", "rig", scenario],
        # One thread: two scenarios may run at once, and the tensors are small.
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert lines, done.stdout[-1000:] + done.stderr[-4000:]
    found: dict[str, Any] = json.loads(lines[0].removeprefix("RESULT "))
    assert Version(found["vllm"]).public == Version(vllm_window.require()[1]).public
    assert found["v2"], found
    assert found["async"], found
    assert found["chunked prefill"], found
    assert found["prefix caching"], found
    assert found["faults"] == [], found
    return found


def test_adapters_are_swapped_mixed_and_observed() -> None:
    found = play("swap")
    assert found["different"] == 12, found  # the comparison says nothing if several models write the same
    assert found["rows after the end"] >= 2, found  # asynchronous scheduling computes a step too many
    assert found["happened"]["tokens from the prefix cache"] >= 100, found


def test_preempted_chunked_and_cached_requests_are_recorded() -> None:
    found = play("pressure")
    happened = found["happened"]
    assert happened["preemptions"] >= 4, happened
    assert happened["rows of unread prompts"] >= 10, happened
    assert happened["tokens from the prefix cache"] >= 500, happened
    assert set(found["seen"]) == set(found["mutations"]), "a wrong hook passed"


def test_twenty_swaps() -> None:
    assert "worst" in play("twenty")


def test_whole_weights_are_pushed() -> None:
    assert "worst" in play("push")


def test_calls_overlap() -> None:
    assert play("threads")["proved by a document"] is True


def test_memory_that_runs_out_halves_the_requests() -> None:
    assert "worst" in play("memory")


def test_the_engine_sleeps_until_it_is_used() -> None:
    assert "worst" in play("sleeping")


def test_a_start_waits_for_memory_that_another_process_frees() -> None:
    found = play("restart")
    assert (found["starts"], found["tries"]) == (2, 2), found
