"""Resources of cells, with several cells on a GPU: the arithmetic, and actors on a Ray that declares a GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from autophage.cluster.placement import bundles_of, fitting, fraction, require_room
from autophage.errors import UserError
from autophage.recipe.schema import Recipe


def recipe(devices: str = "colocated", **cluster: int) -> Recipe:
    return Recipe.model_validate({"name": "x", "devices": devices, "cluster": cluster})


@pytest.mark.parametrize("number", range(1, 9))
@pytest.mark.parametrize("devices", ["colocated", "serial", "disjoint"])
def test_as_many_cells_as_asked_fit_on_a_gpu_and_no_more(devices: str, number: int) -> None:
    one = recipe(devices, cells=number, cells_per_gpu=number)
    gpus = 2 if devices == "disjoint" else 1
    bundles = bundles_of(one, gpus=True)
    nodes = [{"GPU": 1.0, "CPU": 16.0} for _ in range(gpus)]
    assert fitting(bundles, nodes) == number
    require_room(one, bundles, nodes)
    with pytest.raises(UserError, match=f"{number} would fit: --set cluster.cells={number}"):
        require_room(recipe(devices, cells=number + 1, cells_per_gpu=number), bundles, nodes)


@pytest.mark.parametrize("parts", range(1, 9))
@pytest.mark.parametrize("sides", [1, 2])
def test_fractions_are_whole_units_of_ray_that_fit(parts: int, sides: int) -> None:
    one = fraction(parts, sides)
    assert one * 10_000 == pytest.approx(round(one * 10_000), abs=1e-9)
    assert 0.999 <= round(one * parts * sides, 9) <= 1.0


def test_cells_without_a_gpu_request_cores() -> None:
    assert bundles_of(recipe(cells=2, cells_per_gpu=2, cpus=3), gpus=False) == [{"CPU": 3.0}]


SCRIPT = """
from autophage.host import environment
environment.apply()
environment.isolate_ray()
import sys
from pathlib import Path

import ray

from autophage.cluster.deadlines import Deadlines
from autophage.cluster.placement import place
from autophage.cluster.scheduler import Side
from autophage.recipe.schema import Recipe

cells, devices, gpus = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
recipe = Recipe.model_validate(
    {"name": "x", "devices": devices, "sample": {"beams": 2}, "cluster": {"cells": cells, "cells_per_gpu": cells}}
)
ray.init(address="local", num_cpus=8, num_gpus=gpus, include_dashboard=False, log_to_driver=False, _temp_dir=sys.argv[4])
placed = place(recipe, Path(sys.argv[4], "logs"), Deadlines(60.0), at_once=1)
for cell in placed:
    for side in Side:
        assert cell.get(cell.of(side).whereabouts, side, 120)
print("placed", len(placed), "left", ray.available_resources().get("GPU", 0.0))
ray.shutdown()
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("cells", "devices", "gpus"), [(2, "colocated", 1), pytest.param(3, "disjoint", 2, marks=pytest.mark.long)]
)
def test_ray_places_cells_on_fractions_of_a_gpu(cells: int, devices: str, gpus: int, short: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(cells), devices, str(gpus), str(short)],
        env={**os.environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split()[:3] == ["placed", str(cells), "left"], done.stderr[-3000:]
    assert float(done.stdout.split()[3]) < 0.01
