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

import harness  # noqa: F401  (takes this folder off the import path, and is found without it from here on)
