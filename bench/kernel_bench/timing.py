"""Milliseconds and peak memory of a call.

On a GPU, `flushed` times calls as Python makes them, with the second-level cache emptied before each; `graphed` times them
inside a CUDA graph, without what launching costs: rotating over many inputs nothing is in the cache (cold), with one input
everything that fits is (hot). On a CPU contenders take turns, so that what else the machine does disturbs all alike.
"""

from __future__ import annotations

import itertools
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

Call = Callable[[], object]

QUANTILES = (0.5, 0.2, 0.8)
GRAPH_MS = 50
"""Length of a captured graph: long enough to go round all inputs of a cold measurement."""
REPEATS = 7
"""Turns on a CPU."""


class Timing(NamedTuple):
    """Milliseconds: median, and the quantiles 20 and 80 % on a GPU, the quartiles on a CPU."""

    ms: float
    low: float
    high: float


def flushed(call: Call) -> Timing:
    from triton.testing import do_bench

    return Timing(*do_bench(call, quantiles=QUANTILES))


def graphed(calls: Sequence[Call]) -> Timing:
    """The calls in turn, captured."""
    from triton.testing import do_bench_cudagraph

    turns = itertools.cycle(calls)
    torch.cuda.synchronize()  # capture runs on a stream of its own
    return Timing(*do_bench_cudagraph(lambda: next(turns)(), rep=GRAPH_MS, quantiles=QUANTILES))


def interleaved(calls: Mapping[str, Call], repeats: int = REPEATS) -> dict[str, Timing]:
    """A B A B ...: one call of each in every turn, after one to warm up."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            taken[name].append(1e3 * (time.perf_counter() - start))
    quartiles = {name: statistics.quantiles(values, n=4, method="inclusive") for name, values in taken.items()}
    return {name: Timing(middle, low, high) for name, (low, middle, high) in quartiles.items()}


def peak_bytes(call: Call, device: torch.device) -> int:
    """Most that the call holds at once beyond what was there, its results included. A call before it makes the
    workspaces of libraries, which stay and are not counted."""
    call()
    return _peak_on_gpu(call, device) if device.type == "cuda" else _peak_on_cpu(call)


def _peak_on_gpu(call: Call, device: torch.device) -> int:
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    call()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def _peak_on_cpu(call: Call) -> int:
    """From torch's own record of every allocation. Resident memory of the process would show what the C library keeps of
    earlier calls and what threads do, and change from run to run; this is exact."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text("utf-8"))["traceEvents"]
    changes = [(event["ts"], event["args"]["Bytes"]) for event in events if event.get("name") == "[memory]"]
    held = itertools.accumulate(change for _, change in sorted(changes))
    return max(0, *held) if changes else 0
