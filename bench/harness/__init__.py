"""Parts that the benchmarks share.

    facts        machine, versions, commit, date
    statistics   quartiles, ratios pair by pair
    turns        contenders in alternation within a budget
    rows         measurements as data and as tables
    targets      targets, and the check that they are met
    command      the command line of every benchmark
    children     a command in its own session, with a deadline
    processes    workers of benchmarks, in their own process
    subject      models and recipes that are measured
    engine       calls of the engine's sampler and trainer
    light        lower bounds from bytes and FLOPs

Only `engine` knows the interfaces of sampler and trainer. `facts`, `statistics`, `rows`, `light` and `children` need the standard
library only.
"""

import sys
from pathlib import Path

# Run as a script, a benchmark has its folder on the import path, where bench/kernels.py would pass for the package
# `kernels`, which transformers looks for. Modules of a package that is loaded are found without the folder.
BENCH = Path(__file__).resolve().parents[1]
sys.path[:] = [entry for entry in sys.path if not entry or Path(entry).resolve() != BENCH]
