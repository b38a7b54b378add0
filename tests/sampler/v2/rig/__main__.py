"""Runs the scenario that the command line names, and prints its findings as the last line, in JSON."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from autophage.host import environment

from . import shims

environment.apply()
shims.before_imports()

from . import scarcity, scenarios  # noqa: E402  # after the environment is set

SCENARIOS = {
    **{one.__name__: one for one in (scenarios.swap, scenarios.pressure, scenarios.twenty, scenarios.push)},
    **{one.__name__: one for one in (scenarios.threads, scarcity.memory, scarcity.sleeping, scarcity.restart)},
}

if __name__ == "__main__":
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as place:
        found = SCENARIOS[sys.argv[1]](Path(place)).result()
    print("RESULT", json.dumps({**found, "seconds": round(time.perf_counter() - begun, 1)}))
