"""How long fuzzing goes on: a few hundred examples, the same each time; or AUTOPHAGE_FUZZ_SECONDS of ever new ones.

The seconds are for each reader, that is for each file of tests here, whose calls take their shares of it.
"""

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


def fuzz(inputs: SearchStrategy[Any], check: Callable[[Any], object], *, share: float) -> None:
    """Give `check` inputs for its share of the time. What it raises is shrunk and shown."""

    @settings(
        max_examples=EXAMPLES,
        derandomize=not SECONDS,
        database=None,
        deadline=HANG_SECONDS * 1000,
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs)
    def one(given_input: Any) -> None:
        check(given_input)

    end = time.monotonic() + share * SECONDS
    one()
    while time.monotonic() < end:
        one()
