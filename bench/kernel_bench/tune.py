"""Sweep of the launches' constants, as a table.

Constants are set in the module that launches, then restored. Present values are measured too and marked. Registers and spills
come from the compiled kernel of a statistics launch.
"""

from __future__ import annotations

import importlib
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from harness.rows import aligned
from kernel_bench.contenders import Implementation, ours
from kernel_bench.inputs import Inputs, make
from kernel_bench.points import SHORT, KernelPoint
from kernel_bench.sweep import COLD_BYTES, COLD_SETS, call_of, in_short
from kernel_bench.timing import flushed, graphed

STATS = "autophage_kernels.triton_kernels.launch_stats"
DIVERGENCE = "autophage_kernels.triton_kernels.launch_divergence"
HEAD = "autophage_kernels.head"

LANES = 32
PER_LANE = (8, 64)
"""Least and most columns of a block a lane. Below, loads are narrow. Above, registers spill."""
SHOWN = 12


@dataclass(frozen=True)
class Tuning:
    """Constants of one module, their candidate values, and the points that decide."""

    module: str
    values: dict[str, tuple[Any, ...]]
    points: tuple[KernelPoint, ...]

    def settings(self) -> Iterator[dict[str, Any]]:
        for combination in itertools.product(*self.values.values()):
            setting = dict(zip(self.values, combination, strict=True))
            if "BLOCK" not in setting or PER_LANE[0] <= setting["BLOCK"] // (LANES * setting["WARPS"]) <= PER_LANE[1]:
                yield setting


BLOCKS: dict[str, tuple[Any, ...]] = {"BLOCK": (1024, 2048, 4096, 8192), "WARPS": (2, 4, 8, 16)}
STAGED = BLOCKS | {"STAGES": (2, 3, 4, 5)}
LLAMA = 128_256

TUNINGS = {
    **{
        outputs: Tuning(STATS, STAGED, (KernelPoint("logits", outputs, 8192, LLAMA, data="zipf"),))
        for outputs in ("three", "all", "two")
    },
    "fp32": Tuning(STATS, STAGED, (KernelPoint("logits", "three", 8192, LLAMA, "fp32", data="zipf"),)),
    "short": Tuning(
        STATS,
        {"WAVES": (1, 2, 4, 8), "SHORTEST_SPLIT": (1, 2, 4)},
        tuple(KernelPoint("logits", "three", rows, LLAMA, data="zipf") for rows in (256, 64, 1)),
    ),
    "gradient": Tuning(STATS, BLOCKS, (KernelPoint("logits", "two", 8192, LLAMA, direction="backward", data="zipf"),)),
    "divergence": Tuning(DIVERGENCE, STAGED, (KernelPoint("pair", "onepass", 8192, LLAMA, data="zipf"),)),
    "head": Tuning(
        HEAD,
        {"GPU_TILE": tuple(itertools.product((1024, 2048, 4096, 8192), (2048, 4096, 8192, 16_384)))},
        tuple(KernelPoint("head", "three", 8192, LLAMA, hidden=hidden) for hidden in (2048, 4096)),
    ),
}
"""In order of importance."""


@contextmanager
def constants(module: str, setting: dict[str, Any]) -> Iterator[None]:
    """The module's constants, for a while."""
    target = importlib.import_module(module)
    before = {name: getattr(target, name) for name in setting}
    try:
        for name, value in setting.items():
            setattr(target, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(target, name, value)


def today(tuning: Tuning) -> dict[str, Any]:
    return {name: getattr(importlib.import_module(tuning.module), name) for name in tuning.values}


def run(
    names: Sequence[str], device: torch.device, budget_s: float, emit: Callable[[dict[str, object]], None]
) -> list[str]:
    """Lines to show; each measurement also goes to `emit`."""
    end = time.monotonic() + budget_s
    lines: list[str] = []
    for name in names:
        tuning = TUNINGS[name]
        current = today(tuning)
        settings = [current, *(setting for setting in tuning.settings() if setting != current)]
        for point in tuning.points:
            sets = inputs_of(point, device)
            found: list[dict[str, object]] = []
            for setting in settings:
                if time.monotonic() >= end:
                    lines.append(f"budget spent: {name} at {point.name} has {len(found)} of {len(settings)} settings")
                    break
                record = measure(tuning, setting, point, sets)
                record |= {"tuning": name, "today": setting == current}
                emit(record)
                found.append(record)
            lines += shown(name, point, found)
    return lines


def inputs_of(point: KernelPoint, device: torch.device) -> list[Inputs]:
    first = make(point, device)
    sets = max(COLD_SETS, -(-COLD_BYTES // first.bytes)) if in_graph(point) else 1
    return [first, *(make(point, device, seed) for seed in range(1, sets))]


def in_graph(point: KernelPoint) -> bool:
    """Short batches, whose launches would hide what is looked for."""
    return point.rows <= SHORT and point.direction == "forward"


def measure(tuning: Tuning, setting: dict[str, Any], point: KernelPoint, sets: Sequence[Inputs]) -> dict[str, object]:
    (contender,) = ours(point, sets[0].target.device)
    assert isinstance(contender, Implementation)
    record: dict[str, object] = {"point": point.name, **setting}
    with constants(tuning.module, setting):
        try:
            calls = [call_of(point, contender, inputs) for inputs in sets]
            timing = graphed(calls) if in_graph(point) else flushed(calls[0])
            record |= timing._asdict()
            if tuning.module == STATS and point.direction == "forward":
                record |= code_of(point, sets[0])
        except (
            Exception
        ) as error:  # a setting that needs more shared memory or registers than there are is no candidate
            record["note"] = in_short(error)
    return record


def code_of(point: KernelPoint, inputs: Inputs) -> dict[str, object]:
    """Registers, spills and shared memory of the compiled pass over the logits."""
    from autophage_kernels.partial import FIELDS
    from autophage_kernels.statistics import chosen
    from autophage_kernels.triton_kernels import launch_stats

    device = inputs.logits.device
    parts = launch_stats.split_count(point.rows, point.vocabulary, device)
    out_PST = torch.empty(FIELDS, parts, point.rows, device=device)
    launch = launch_stats.partial_launch(
        inputs.logits.unsqueeze(0), inputs.target, None, None, 0.0, 0, chosen(point.names, with_target=True), False, out_PST
    )  # fmt: skip
    arguments = launch.arguments | launch.constants
    code = launch.kernel[launch.grid](**arguments, num_warps=launch.warps, enable_fp_fusion=True)
    return {"registers": code.n_regs, "spills": code.n_spills, "shared": code.metadata.shared, "splits": parts}


def shown(name: str, point: KernelPoint, found: Sequence[dict[str, object]]) -> list[str]:
    """The fastest settings, and today's."""
    timed = sorted((record for record in found if "ms" in record), key=lambda record: record["ms"])  # type: ignore[arg-type, return-value]
    kept = timed[:SHOWN] + [record for record in timed[SHOWN:] if record["today"]]
    if not kept:
        return ["", f"{name}: {point.name}: nothing could be measured"]
    columns = [*TUNINGS[name].values, "ms", "low", "high", "registers", "spills", "shared", "splits"]
    used = [column for column in columns if any(column in record for record in kept)]
    cells = [("", "", "", *used)]
    cells += [
        ("today" if record["today"] else "", "", "", *(_text(record.get(column)) for column in used)) for record in kept
    ]
    failed = len(found) - len(timed)
    head = f"{name}: {point.name}: {len(timed)} settings" + (f", {failed} that do not run" if failed else "")
    return ["", head, *aligned(cells)]


def _text(value: object) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
