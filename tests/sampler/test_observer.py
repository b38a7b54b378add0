"""Statistics that real vLLM records in flight are exact over many thousand tokens, whatever happens to the batch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SCRIPT = Path(__file__).with_name("observed_batches.py")


def run(batch: str, variables: dict[str, str]) -> dict[str, Any]:
    """Run the script. It asserts equal tokens with and without the observer, and statistics within 1e-4."""
    done = subprocess.run([sys.executable, SCRIPT, batch], env=variables, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert lines, done.stdout[-1000:] + done.stderr[-3000:]
    result: dict[str, Any] = json.loads(lines[0].removeprefix("RESULT "))
    return result


def test_under_preemption_with_mixed_adapters_and_early_stops(variables: dict[str, str]) -> None:
    found = run("preempted", variables)
    assert found["tokens"] >= 10_000, found
    assert found["happened"]["preemptions"] >= 20, found
    assert found["stopped"] >= 20, found
    assert found["cut"] >= 20, found
    assert found["of_one_token"] >= 5, found


@pytest.mark.long
def test_under_chunked_prefill_and_prefix_caching(variables: dict[str, str]) -> None:
    found = run("chunked", variables)
    assert found["happened"]["rows of unread prompts"] >= 20, found
    assert found["happened"]["tokens from the prefix cache"] >= 1000, found
