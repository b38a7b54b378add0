"""Duration of fuzzing: a few hundred fixed examples, or AUTOPHAGE_FUZZ_SECONDS of new ones.

Each file of tests is a reader with its own seconds. The calls of a file share them.
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
"""Time limit of one input. All inputs are below a megabyte, so a longer one hangs."""


def fuzz(inputs: SearchStrategy[Any], check: Callable[[Any], object], *, share: float) -> None:
    """Give `check` inputs for its share of the time. A failing input is shrunk and shown."""

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
