"""Machines that a plan can be made for: their constants, and speeds measured on them.

`throughputs.json` ships with the package. The constants of a machine feed the formulas of `speeds`. A row is the mean
generation of a finished run, with its work and the seconds of each stage. It corrects the formulas near its own shape.
Rows of the user's own runs are kept in the cache and replace the shipped rows of the same machine.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from autophage.errors import UserError
from autophage.host.cache import cache_folder
from autophage.host.machine import GIB, cpu_quota, nvidia_driver
from autophage.plan.shape import Shape
from autophage.plan.tokens import Measuring, Sampling, Training, Workload
from autophage.store.atomic import write_text

TABLE = "throughputs.json"
REFERENCE = "cpu-2"
"""Machine whose constants are scaled to other numbers of CPU cores."""
MOST_ROWS = 50
"""Maximum number of measured rows in the user's cache. The oldest are dropped."""


@dataclass(frozen=True)
class Machine:
    """Constants of one machine, which the formulas of `speeds` use.

        gpu               part of the driver's name for the GPU
        peak, bandwidth   operations and bytes of memory per second of the device
        *_share           fraction of the peak that is reached where only arithmetic counts
        bandwidth_share   fraction of the bandwidth that a decode step reaches
        adapter_tax       factor by which adapters slow a decode step
        *_call            seconds per stage and generation
        *_layer           seconds of the host per layer of a step; on a GPU, kernel launches
        decode_step       seconds of the host per decode step
        decode_token      seconds of the host per sampled token
        resample, pair    seconds of metrics per bootstrap draw of one unit, and per compared pair
        disk_bandwidth    bytes per second of the disk
        start             seconds until the first stage
        first             extra seconds of a stage's first time: imports, compilation

    `origin` tells users the origin of the constants.
    """

    name: str
    title: str
    kind: str
    gpu: str
    memory_gib: float
    peak: float
    bandwidth: float
    sample_share: float
    bandwidth_share: float
    train_share: float
    score_share: float
    adapter_tax: float
    decode_call: float
    decode_step: float
    decode_layer: float
    decode_token: float
    train_call: float
    train_layer: float
    score_layer: float
    base_layer: float
    measure_call: float
    resample: float
    pair: float
    swap_call: float
    commit_call: float
    disk_bandwidth: float
    start: float
    first: Mapping[str, float]
    origin: str

    @property
    def overlaps_host(self) -> bool:
        """True if the host prepares the next operations while the device computes: the slower of the two counts."""
        return self.kind == "gpu"

    @property
    def width(self) -> int:
        """Bytes per element of the weights in computation: 4 on a CPU, 2 on a GPU."""
        return 4 if self.kind == "cpu" else 2

    @property
    def memory_bytes(self) -> int:
        return round(self.memory_gib * GIB)


@dataclass(frozen=True)
class MeasuredBase:
    """Tokens, steps and seconds of the training of a run's base model. All are 0 if the model was cached."""

    tokens: int = 0
    steps: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class SpeedRow:
    """Measured speeds of a run: its mean generation, and the seconds of each stage in it.

    The first time of each stage is left out of the mean. A stage that was absent has 0 seconds. `start` and `first` are
    as in `Machine`.
    """

    machine: str
    recipe: str
    shape: Shape
    rank: int
    full: bool
    work: Workload
    seconds: Mapping[str, float]
    start: float
    first: Mapping[str, float]
    base: MeasuredBase

    @property
    def tokens_per_second(self) -> dict[str, float]:
        """Tokens per second of sampling, training and measuring, for display. Stages without seconds are left out."""
        done = {"sample": self.work.sample.tokens, "train": self.work.train.tokens, "measure": self.work.measure.read}
        return {stage: tokens / self.seconds[stage] for stage, tokens in done.items() if self.seconds.get(stage)}


def machines() -> dict[str, Machine]:
    """Return the machines that ship with the package, by name."""
    return {name: Machine(name=name, **facts) for name, facts in _table()["machines"].items()}


def rows_of(machine: Machine) -> list[SpeedRow]:
    """Return the speeds measured on `machine`: the user's own, else the shipped ones."""
    own = [row for row in read_rows(cache_path()) if row.machine == machine.name]
    return own or [row for row in map(row_from, _table()["rows"]) if row.machine == machine.name]


def choose(name: str | None) -> Machine:
    """Return the machine called `name`. None means this machine.

    Raises:
        UserError: There is no machine of that name.
    """
    return here() if name is None else named(name)


def named(name: str) -> Machine:
    known = machines()
    if name in known:
        return known[name]
    if name.startswith("cpu-") and name.removeprefix("cpu-").isdigit() and int(name.removeprefix("cpu-")) > 0:
        return _cores(int(name.removeprefix("cpu-")))
    raise UserError(f"--machine {name}: known are {', '.join(known)}, and cpu-N for N cores.")


def here() -> Machine:
    """Return this machine: its first GPU if the driver finds one, else its cores."""
    driver, _ = nvidia_driver()
    return recognised(driver.gpus[0]) if driver and driver.gpus else _cores(_granted_cores())


def recognised(gpu: str) -> Machine:
    """Return the machine of a GPU, given the driver's words: "NVIDIA H100 80GB HBM3, 80 GiB".

    An unknown GPU takes the constants of the known GPU that is nearest in memory.
    """
    name, _, memory = gpu.rpartition(", ")
    known = [machine for machine in machines().values() if machine.kind == "gpu"]
    size = float(memory.split()[0]) if memory.endswith("GiB") else 0.0
    alike = [machine for machine in known if machine.gpu in gpu] or known
    nearest = min(alike, key=lambda machine: abs(machine.memory_gib - size))
    if nearest.gpu in gpu and abs(nearest.memory_gib - size) <= 0.1 * size:
        return nearest
    found = replace(nearest, name=name.replace(" ", "-").lower() or gpu, title=name or gpu, gpu=name or gpu)
    return replace(found, memory_gib=size or nearest.memory_gib, origin=f"estimated from {nearest.title}")


def _cores(count: int) -> Machine:
    reference = machines()[REFERENCE]
    if count == 2:
        return reference
    return replace(
        reference,
        name=f"cpu-{count}",
        title=f"{count} CPU core{'s' * (count > 1)}",
        peak=reference.peak * count / 2,
        origin="estimated from two cores, arithmetic in proportion to the cores",
    )


def _granted_cores() -> int:
    cores = len(os.sched_getaffinity(0))
    quota = cpu_quota()
    return max(1, min(cores, round(quota)) if quota else cores)


def cache_path() -> Path:
    return cache_folder() / TABLE


def keep_row(row: SpeedRow) -> Path:
    """Add measured speeds to the user's cache, and return the path of the cache file.

    They replace older speeds of the same machine and recipe.
    """
    kept = [old for old in read_rows(cache_path()) if (old.machine, old.recipe) != (row.machine, row.recipe)]
    cache_path().parent.mkdir(parents=True, exist_ok=True)
    write_text(cache_path(), json.dumps({"rows": [asdict(one) for one in [*kept, row][-MOST_ROWS:]]}, indent=1) + "\n")
    return cache_path()


def read_rows(path: Path) -> list[SpeedRow]:
    """Read the measured speeds in a cache file; none if the file does not exist.

    Raises:
        UserError: The file has another form than `keep_row` writes.
    """
    if not path.is_file():
        return []
    try:
        return [row_from(row) for row in json.loads(path.read_text("utf-8"))["rows"]]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: is not a table of measured speeds ({error}). Delete it and calibrate again."
        ) from error


def row_from(facts: Mapping[str, Any]) -> SpeedRow:
    """Build a row of measured speeds from its JSON form."""
    done = facts["work"]
    parts = Workload(Sampling(**done["sample"]), Measuring(**done["measure"]), Training(**done["train"]))
    return SpeedRow(**{**facts, "shape": Shape(**facts["shape"]), "work": parts, "base": MeasuredBase(**facts["base"])})


@cache
def _table() -> Any:
    return json.loads(resources.files("autophage.plan").joinpath(TABLE).read_text("utf-8"))
