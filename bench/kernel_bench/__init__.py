"""What `bench/kernels.py` is made of: points, inputs, contenders, timing, sweeps and tables.

points       what is measured, in order of importance, with its bytes and FLOPs
inputs       tensors of a point: random ones, peaked ones, ramps
accuracy     float64 truth of a few rows, and how far a contender is from it
contenders   the kernels of this repository, and torch doing the same
peers        other people's kernels, each optional
machine      the device, its software, and its measured limits
timing       milliseconds and peak memory
sweep        which contender runs when, within a budget
report       rows as data, tables for people, the CPU's targets
tune         the constants of the launches, swept
"""

import sys
from pathlib import Path

# Run as a script, bench/kernels.py has its folder on the import path and would pass for the package `kernels`, which
# transformers looks for. Modules of this package are found without the folder.
_BENCH = Path(__file__).resolve().parents[1]
sys.path[:] = [entry for entry in sys.path if not entry or Path(entry).resolve() != _BENCH]
