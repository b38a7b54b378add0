"""The whole plan: sums, layouts, bytes and unknown values."""

from __future__ import annotations

import json

import pytest
from tests.plan.conftest import PlanMaker, RecipeMaker
from tests.present import present

from autophage.plan import Layout, Speeds, layout_of
from autophage.plan.footprint import demand
from autophage.plan.machines import named
from autophage.plan.shape import shape_of

EIGHT = {"path": "someone/Model-8B"}
TEXT = {"kind": "text", "path": "/nowhere"}


def test_time_is_start_base_and_arms(made: PlanMaker) -> None:
    total = made()
    arms = sum(present(arm.seconds) for arm in total.arms)
    assert arms == pytest.approx(sum(total.stages.values()))
    assert total.base_seconds > 60
    assert total.seconds == pytest.approx(total.start_seconds + sum(total.first.values()) + total.base_seconds + arms)
    cached = made(options={"base_cached": True})
    assert cached.base_seconds == 0.0
    assert cached.seconds == pytest.approx(present(total.seconds) - total.base_seconds)


def test_the_shipped_demo_takes_minutes_on_two_cores(made: PlanMaker) -> None:
    """README promises less than ten minutes, base model included."""
    seconds = made(source={"people": 250}, generations=5, base={"tokens": 1_050_000}, sample={"count": 200},
                   train={"epochs": 6.0}, sweep={"mix.alpha": [1.0, 0.5]}).seconds  # fmt: skip
    assert 300 < present(seconds) < 900


def test_given_speeds_replace_the_table(made: PlanMaker) -> None:
    given = made(options={"speeds": Speeds(sample=1000.0, train=500.0)})
    sampled, trained = (sum(getattr(arm, name) for arm in given.arms) for name in ("sampled", "trained"))
    assert given.stages["sample"] == pytest.approx(sampled / 1000)
    assert given.stages["train"] == pytest.approx(trained / 500)


def test_an_unknown_model_has_no_invented_time(made: PlanMaker) -> None:
    unknown = made(options={"price_per_hour": 1.0}, model={"path": "someone/mystery"})
    assert (unknown.seconds, unknown.memory, unknown.disk_bytes, unknown.cost) == (None, None, None, None)
    assert unknown.arms[0].sampled > 0
    assert "unknown" in unknown.parameters_from


def test_disk_is_corpora_and_adapters(made: PlanMaker) -> None:
    arm = made(sample={"count": 100}, model={"rank": 8}).arms[0]
    adapter = 4 * 8 * 4 * (4 * 2 * 192 + 3 * 4 * 192)  # bytes, rank, layers, in + out of the seven linear layers
    assert arm.disk_bytes == pytest.approx(arm.sampled * 14 + 4 * adapter)


def test_cost(made: PlanMaker) -> None:
    total = made(options={"price_per_hour": 3600.0})
    assert total.cost == pytest.approx(total.seconds)


def test_full_training_is_half_again_the_arithmetic_and_keeps_whole_models(made: PlanMaker) -> None:
    lora = made("h200", model=EIGHT, source=TEXT)
    full = made("h200", model={**EIGHT, "method": "full"}, source=TEXT)
    assert 1.3 < full.stages["train"] / lora.stages["train"] <= 1.5
    assert present(full.disk_bytes) > 2 * 3 * 4 * 8e9  # two arms, models 1 to 3, four bytes a parameter
    assert present(full.memory).trainer > 16 * 8e9


def test_overlap_pays_on_a_gpu_and_not_on_shared_cores(made: PlanMaker) -> None:
    tables = {"model": EIGHT, "source": TEXT, "sweep": {"mix.alpha": [1.0, 0.5]}}
    serial = made("h200", devices="serial", **tables)
    colocated = made("h200", devices="colocated", **tables)
    assert 0.5 * present(serial.seconds) < present(colocated.seconds) < present(serial.seconds)
    small = {"sweep": {"mix.alpha": [1.0, 0.5]}}
    assert made(devices="disjoint", **small).seconds == made(devices="serial", **small).seconds


def test_gpus_make_cells_that_divide_the_arms(made: PlanMaker) -> None:
    tables = {
        "model": EIGHT,
        "source": TEXT,
        "sweep": {"train.learning_rate": [1e-3, 1e-4]},
        "control": {"enabled": False},
    }
    one, two = made("h200", devices="serial", **tables), made("h200", {"gpus": 2}, devices="serial", **tables)
    assert (two.layout.cells, two.gpus) == (2, 2)
    alone = one.start_seconds + sum(one.first.values())
    assert present(two.seconds) - alone == pytest.approx((present(one.seconds) - alone) / 2)
    assert made("h200", {"gpus": 4}, devices="disjoint", **tables).layout.cells == 2
    assert made(options={"gpus": 2}).gpus == 0  # cores are no GPUs


def test_a_layout_comes_from_the_cluster_table(recipe_of: RecipeMaker) -> None:
    asked = recipe_of(cluster={"cells": 3, "sampler_gpus": 2, "trainer_gpus": 4}, devices="disjoint")
    layout = layout_of(asked)
    assert layout == Layout(3, 2, 4)
    assert layout.gpus("disjoint") == 18
    assert layout.gpus("serial") == 12
    assert layout_of(asked, 13).cells == 2


def test_memory_of_two_processes_on_a_cpu(made: PlanMaker) -> None:
    total = present(made().memory)
    assert total.division is None
    assert 1.5 * 2**30 < total.total < 4 * 2**30
    wider = present(made(base={"vocabulary": 65536}, source=TEXT).memory)
    assert wider.trainer > total.trainer  # the base model's logits


def test_memory_on_a_gpu_is_divided(made: PlanMaker, recipe_of: RecipeMaker) -> None:
    memory = present(made("h200", model=EIGHT, source=TEXT).memory)
    assert present(memory.division).fits
    recipe = recipe_of(model=EIGHT, source=TEXT, train={"batch_size": 8}, sample={"concurrency": 7})
    asked = demand(named("h200"), recipe, present(shape_of(recipe)))
    assert (asked.concurrency, asked.longest, asked.width) == (7, 64 + 40 + 64, 2)
    assert asked.batch_tokens == 8 * 65


def test_the_assumptions_name_the_machine_and_how_it_is_known(made: PlanMaker) -> None:
    assert "measured" in made().basis
    gpu = made("h200", model=EIGHT, source=TEXT)
    assert gpu.basis.startswith("estimated")
    assert "H200 141 GB: speeds estimated" in gpu.assumptions[0]
    json.dumps(gpu.assumptions)
