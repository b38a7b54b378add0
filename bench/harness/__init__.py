"""What the benchmarks share: turns taken in alternation, rows with the facts of the machine, tables, targets, processes.

facts        machine, versions, commit, date
statistics   quartiles, ratios pair by pair
turns        contenders in alternation, within a budget; what fails leaves a note
rows         rows as data, tables for people
targets      promises and whether they are kept
command      the command line that every benchmark has
processes    work in a process of its own, with a deadline
subject      the models and recipes that are measured, down to a folder of random weights
engine       the engine's sampler and trainer as the benchmarks call them: the one file that knows their interfaces
light        bytes, FLOPs and the time that a GPU needs at least
"""

import sys
from pathlib import Path

# Run as a script, a benchmark has its folder on the import path, where bench/kernels.py would pass for the package
# `kernels`, which transformers looks for. Modules of a package that is loaded are found without the folder.
BENCH = Path(__file__).resolve().parents[1]
sys.path[:] = [entry for entry in sys.path if not entry or Path(entry).resolve() != BENCH]
