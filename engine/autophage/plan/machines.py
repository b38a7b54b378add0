"""The machines that a plan can be made for: their constants, and rows of speeds that runs have really had on them.

`throughputs.json` ships with the package. A machine's constants feed the formulas of `speeds`; a row is a finished run's mean
generation (what it computed, how many seconds each stage took) and corrects the formulas near its own shape. Rows of this
user's own runs stand in the cache and take the place of the shipped rows of the same machine.
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
"""The machine that other counts of CPU cores are estimated from."""
MOST_ROWS = 50
"""Rows of one user that are kept: the newest."""


@dataclass(frozen=True)
class Machine:
    """Constants of the formulas, in operations, bytes and seconds. `gpu` is a part of the name that the driver gives the GPU.

    `peak` and `bandwidth` are the device's; `*_share` what of the peak is reached where nothing but arithmetic counts.
    `*_call`: once per stage and generation. `*_layer`: the host's part of a step, per layer. `decode_token`: the host's part
    of a sampled token. `resample`, `pair`: metrics, per bootstrap draw of one unit and per compared pair. `start`: until the
    first stage; `first`: what the first time of a stage takes on top (imports, compilation).
    """

    name: str
    title: str
    kind: str
    gpu: str
    memory_gib: float
    peak: float
    bandwidth: float
    sample_share: float
    train_share: float
    score_share: float
    adapter_tax: float
    decode_call: float
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
    def width(self) -> int:
        """Bytes of an element that it computes in."""
        return 4 if self.kind == "cpu" else 2

    @property
    def memory_bytes(self) -> int:
        return round(self.memory_gib * GIB)


@dataclass(frozen=True)
class BaseTraining:
    tokens: int = 0
    steps: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class SpeedRow:
    """A run's mean generation after the first times: `work` it did and `seconds` of each stage; 0 where it had none.

    `start` and `first` are as in `Machine`; `base` is the training of the base model, all 0 where it was there already.
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
    base: BaseTraining

    @property
    def tokens_per_second(self) -> dict[str, float]:
        """Of sampling, training and measuring; for people."""
        done = {"sample": self.work.sample.tokens, "train": self.work.train.tokens, "measure": self.work.measure.read}
        return {stage: tokens / self.seconds[stage] for stage, tokens in done.items() if self.seconds.get(stage)}


def machines() -> dict[str, Machine]:
    """The shipped machines by name."""
    return {name: Machine(name=name, **facts) for name, facts in _table()["machines"].items()}


def rows_of(machine: Machine) -> list[SpeedRow]:
    """What runs have measured on `machine`: this user's own where there are any, else the shipped ones."""
    own = [row for row in read_rows(cache_path()) if row.machine == machine.name]
    return own or [row for row in map(row_from, _table()["rows"]) if row.machine == machine.name]


def choose(name: str | None) -> Machine:
    """The machine called `name`, else the one this process runs on.

    Raises:
        UserError: there is no machine of that name.
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
    """The machine of this process: its first GPU where the driver names one that is known, else its cores."""
    driver, _ = nvidia_driver()
    return recognised(driver.gpus[0]) if driver and driver.gpus else _cores(_granted_cores())


def recognised(gpu: str) -> Machine:
    """The machine of a GPU as the driver names it ("NVIDIA H100 80GB HBM3, 80 GiB"); the nearest in memory where unknown."""
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
    """Add `row` to this user's; an older one of the same machine and recipe gives way to it."""
    kept = [old for old in read_rows(cache_path()) if (old.machine, old.recipe) != (row.machine, row.recipe)]
    cache_path().parent.mkdir(parents=True, exist_ok=True)
    write_text(cache_path(), json.dumps({"rows": [asdict(one) for one in [*kept, row][-MOST_ROWS:]]}, indent=1) + "\n")
    return cache_path()


def read_rows(path: Path) -> list[SpeedRow]:
    """The rows of a cache; none where there is none.

    Raises:
        UserError: the file is not what `keep_row` writes.
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
    """A row of its JSON."""
    done = facts["work"]
    parts = Workload(Sampling(**done["sample"]), Measuring(**done["measure"]), Training(**done["train"]))
    return SpeedRow(**{**facts, "shape": Shape(**facts["shape"]), "work": parts, "base": BaseTraining(**facts["base"])})


@cache
def _table() -> Any:
    return json.loads(resources.files("autophage.plan").joinpath(TABLE).read_text("utf-8"))
