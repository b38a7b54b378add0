"""Parts of `bench/kernels.py`.

    points       points of measurement in order of importance, with bytes and FLOPs
    inputs       tensors of a point: random, peaked, ascending
    accuracy     float64 truth of a few rows, and a contender's distance from it
    contenders   the kernels of this repository, and torch
    peers        kernels of others
    machine      the device, its software and its measured limits
    timing       milliseconds and peak memory
    sweep        order of contenders within a budget
    report       measurements as data and tables, targets on a CPU
    tune         sweep of the launches' constants

Every peer is optional.
"""

import harness  # noqa: F401  (takes this folder off the import path, and is found without it from here on)
