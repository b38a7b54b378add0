"""The shipped table, the choice of a machine, and a user's own rows."""

from __future__ import annotations

import pytest

from autophage.errors import UserError
from autophage.plan.machines import (
    MOST_ROWS,
    MeasuredBase,
    SpeedRow,
    cache_path,
    here,
    keep_row,
    machines,
    named,
    read_rows,
    recognised,
    rows_of,
)
from autophage.plan.shape import llama_shape
from autophage.plan.tokens import Measuring, Sampling, Training, Workload

WORK = Workload(Sampling(10, 400.0, 10.0, 64, 10), Measuring(900.0, 3, 1e4, 100), Training(800.0, 5))
SECONDS = {"train": 2.0, "swap": 0.1, "sample": 1.0, "measure": 3.0, "commit": 0.1}


def row(recipe: str = "mine", machine: str = "cpu-2") -> SpeedRow:
    return SpeedRow(
        machine, recipe, llama_shape(64, 192, 2, 200, 64, 1, "x"), 8, False, WORK, SECONDS, 9.0, {}, MeasuredBase()
    )


def test_only_what_ran_is_called_measured() -> None:
    for machine in machines().values():
        assert machine.origin.startswith("estimated")
        if machine.kind == "gpu":
            assert rows_of(machine) == []
    shipped = rows_of(named("cpu-2"))
    assert {one.recipe for one in shipped} >= {"smoke", "text"}
    assert all(rate > 100 for one in shipped for rate in one.tokens_per_second.values())


def test_own_rows_take_the_place_of_the_shipped_ones() -> None:
    keep_row(row())
    assert rows_of(named("cpu-2")) == [row()]
    keep_row(row("other", machine="h200"))
    assert [one.recipe for one in rows_of(named("cpu-2"))] == ["mine"]
    assert [one.recipe for one in rows_of(named("h200"))] == ["other"]


def test_a_run_that_is_calibrated_again_stands_once_and_the_oldest_go() -> None:
    for number in (1, 2, 1):
        keep_row(row(f"run{number}"))
    assert [one.recipe for one in read_rows(cache_path())] == ["run2", "run1"]
    for number in range(MOST_ROWS):
        keep_row(row(f"many{number}"))
    assert read_rows(cache_path())[0].recipe == "many0"


def test_a_damaged_table_says_what_to_do() -> None:
    cache_path().parent.mkdir(parents=True, exist_ok=True)
    cache_path().write_text('{"rows": [{"machine": "cpu-2"}]}', "utf-8")
    with pytest.raises(UserError, match="Delete it and calibrate again"):
        rows_of(named("cpu-2"))


def test_other_counts_of_cores_come_from_two() -> None:
    assert named("cpu-8").peak == 4 * named("cpu-2").peak
    assert named("cpu-8").origin.startswith("estimated from two cores")
    with pytest.raises(UserError, match=r"--machine abacus: known are cpu-2, h100"):
        named("abacus")
    with pytest.raises(UserError, match="cpu-0"):
        named("cpu-0")


@pytest.mark.parametrize(
    ("gpu", "name"),
    [
        ("NVIDIA H100 80GB HBM3, 80 GiB", "h100"),
        ("NVIDIA H200, 140 GiB", "h200"),
        ("NVIDIA A100-SXM4-80GB, 80 GiB", "a100-80"),
        ("NVIDIA A100-SXM4-40GB, 40 GiB", "a100-40"),
        ("NVIDIA GeForce RTX 4090, 24 GiB", "rtx-4090"),
    ],
)
def test_gpus_are_recognised_by_what_the_driver_says(gpu: str, name: str) -> None:
    assert recognised(gpu).name == name


def test_an_unknown_gpu_is_estimated_from_the_nearest_in_memory_and_keeps_its_own() -> None:
    found = recognised("NVIDIA L40S, 45 GiB")
    assert (found.title, found.memory_gib) == ("NVIDIA L40S", 45.0)
    assert found.origin == "estimated from A100 40 GB"


def test_this_machine_is_one() -> None:
    assert here().peak > 0
