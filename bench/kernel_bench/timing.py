"""Milliseconds and peak memory of a call.

`flushed` times calls from Python on a GPU. It empties the second-level cache before each call. `graphed` times calls inside a
CUDA graph, without the cost of launches. Rotating over many inputs leaves nothing in the cache (cold). One input stays in the
cache as far as it fits (hot). Contenders on a CPU take turns, so that disturbances of the machine fall on all.
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
"""Length of a captured graph. It suffices to visit all inputs of a cold measurement."""
REPEATS = 7
"""Turns on a CPU."""


class Timing(NamedTuple):
    """Milliseconds. The bounds around the median are the quantiles 20% and 80% on a GPU and the quartiles on a CPU."""

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
    """Time calls in alternation (A B A B) after one warm-up call of each."""
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
    """Peak bytes of a call beyond those before it, results included.

    An earlier call makes the workspaces of libraries, which stay and are not counted.
    """
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
    """Peak bytes from torch's record of every allocation.

    The record is exact. Resident memory would include the C library's reserves and the work of threads, and would vary.
    """
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text("utf-8"))["traceEvents"]
    changes = [(event["ts"], event["args"]["Bytes"]) for event in events if event.get("name") == "[memory]"]
    held = itertools.accumulate(change for _, change in sorted(changes))
    return max(0, *held) if changes else 0
