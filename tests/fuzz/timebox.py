"""How long fuzzing goes on: a few hundred examples, the same each time; or AUTOPHAGE_FUZZ_SECONDS of ever new ones."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy

SECONDS = float(os.environ.get("AUTOPHAGE_FUZZ_SECONDS", "0"))
EXAMPLES = 150
HANG_SECONDS = 20
"""A single input that takes longer is taken for a hang: all of them are smaller than a megabyte."""


def fuzz(inputs: SearchStrategy[Any], check: Callable[[Any], None]) -> int:
    """Give `check` inputs until the time is over; returns how many there were. What it raises is shrunk and shown."""
    tried = 0

    @settings(
        max_examples=EXAMPLES,
        derandomize=not SECONDS,
        database=None,
        deadline=HANG_SECONDS * 1000,
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs)
    def one(given_input: Any) -> None:
        nonlocal tried
        tried += 1
        check(given_input)

    end = time.monotonic() + SECONDS
    one()
    while time.monotonic() < end:
        one()
    return tried
