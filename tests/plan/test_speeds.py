"""The formulas against figures worked out by hand, and what measured rows do to them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.plan.conftest import RecipeMaker

from autophage.plan.machines import Machine, MeasuredBase, SpeedRow, named
from autophage.plan.shape import Shape, llama_shape
from autophage.plan.speeds import (
    PlannedModel,
    base_seconds,
    busy_share,
    cells_seconds,
    formula_seconds,
    makespan,
    stage_costs,
    stage_seconds,
    start_seconds,
)
from autophage.plan.tokens import Measuring, Sampling, Training, Workload

EIGHT = llama_shape(4096, 14336, 32, 128_256, 1024, 2, "Llama-3.1-8B")
ONE = llama_shape(2048, 8192, 16, 128_256, 512, 1, "Llama-3.2-1B")
LARGE = Workload(
    Sampling(50_000, 12.8e6, 3.2e6, 50_000, 256), Measuring(0.0, 0, 0.0, 0), Training(16.0e6, 1563)
)  # 50,000 samples of 256 tokens after 64, 256 at once


NO_BASE = MeasuredBase()


def row(
    seconds: dict[str, float],
    model: Shape = EIGHT,
    work: Workload = LARGE,
    machine: str = "h200",
    base: MeasuredBase = NO_BASE,
) -> SpeedRow:
    return SpeedRow(machine, "one", model, 16, False, work, seconds, 10.0, {"train": 3.0}, base)


@pytest.fixture
def bare() -> Machine:
    """An H200 that reaches its peak and whose host costs nothing: the speed of light."""
    host: dict[str, Any] = dict.fromkeys(
        ("decode_call", "decode_step", "decode_layer", "decode_token", "train_call", "train_layer", "score_layer", "swap_call",
         "measure_call", "resample", "pair", "commit_call"), 0.0,
    )  # fmt: skip
    shares: dict[str, Any] = dict.fromkeys(("sample_share", "bandwidth_share", "train_share", "score_share"), 1.0)
    return replace(named("h200"), adapter_tax=1.0, **shares, **host)


def test_shapes_are_those_of_the_models() -> None:
    assert EIGHT.parameters == pytest.approx(8.03e9, rel=1e-3)
    assert ONE.parameters == pytest.approx(1.236e9, rel=1e-3)
    assert (2 * EIGHT.kv_elements, 2 * ONE.kv_elements) == (131_072, 32_768)  # bytes a token in bfloat16
    assert 2 * 16 * EIGHT.adapter_per_rank == pytest.approx(84e6, rel=0.01)


def test_light_for_eight_billion_parameters(bare: Machine) -> None:
    """At 256 sequences a step takes 4.69 ms of bandwidth, and 50,000 steps 234 s. Prefill takes 52 s.

    Training takes 4 P tokens / F = 520 s.
    """
    seconds = formula_seconds(bare, PlannedModel(EIGHT, 16, False), LARGE)
    assert seconds["sample"] == pytest.approx(234 + 52, rel=0.02)
    assert seconds["train"] == pytest.approx(520, rel=0.01)
    assert formula_seconds(bare, PlannedModel(EIGHT, 16, True), LARGE)["train"] == pytest.approx(780, rel=0.01)


def test_a_reference_costs_a_forward_pass_more(bare: Machine) -> None:
    """A forward pass adds 2 P tokens / F to 4 with frozen weights, which is half. With all weights it adds a third of 6."""
    held = replace(LARGE, train=replace(LARGE.train, scored=LARGE.train.tokens, batches=LARGE.train.steps))
    for full, share in ((False, 1.5), (True, 4 / 3)):
        model = PlannedModel(EIGHT, 16, full)
        alone = formula_seconds(bare, model, LARGE)["train"]
        assert formula_seconds(bare, model, held)["train"] == pytest.approx(share * alone, rel=1e-6)


def test_steps_that_gates_take_cost_what_training_does(bare: Machine) -> None:
    learning = replace(LARGE, measure=replace(LARGE.measure, trained=LARGE.train.tokens, steps=LARGE.train.steps))
    for full in (False, True):
        seconds = formula_seconds(bare, PlannedModel(EIGHT, 16, full), learning)
        assert seconds["measure"] == pytest.approx(seconds["train"], rel=1e-6)


def test_a_small_model_is_bound_by_the_host_and_a_large_one_is_in_the_published_range() -> None:
    """The host takes 5 ms for a step of 256 sequences: 50 thousand tokens/s. Published rates are 12 to 25 thousand for 8B.

    The speed of light is 300 and 55 thousand.
    """
    small = formula_seconds(named("h200"), PlannedModel(ONE, 16, False), LARGE)["sample"]
    large = formula_seconds(named("h200"), PlannedModel(EIGHT, 16, False), LARGE)["sample"]
    assert 12.8e6 / 60_000 < small < 12.8e6 / 40_000
    assert 12.8e6 / 25_000 < large < 12.8e6 / 12_000


SHORT = Workload(
    Sampling(8000, 512_000, 0, 2000, 256), Measuring(3 * 512_000, 375, 0.0, 0), Training(2.05e6, 1000)
)  # 8,000 samples of 64 tokens, scored under three models, in four epochs of batches of 32


def test_a_training_step_takes_the_launches_or_the_arithmetic() -> None:
    """1B: 4,500 launches of 10 us in each of 1,000 steps. 8B: 4 P tokens at a third of the peak."""
    small, large = (formula_seconds(named("h200"), PlannedModel(shape, 32, False), SHORT) for shape in (ONE, EIGHT))
    assert small["train"] == pytest.approx(45, rel=0.05)
    assert large["train"] == pytest.approx(4 * EIGHT.parameters * 2.05e6 / (989e12 / 3), rel=0.05)
    assert small["sample"] == pytest.approx(10, rel=0.1)
    assert large["sample"] == pytest.approx(16, rel=0.15)
    assert 10 < small["measure"] < 20
    assert 60 < large["measure"] < 130


def test_cells_that_share_a_gpu_wait_for_its_arithmetic_and_not_for_their_hosts() -> None:
    machine, model = named("h200"), PlannedModel(ONE, 32, False)
    cost = stage_costs(machine, model, SHORT)["train"]
    assert cost.host > cost.device
    assert cost.seconds(machine, 2) == cost.fixed + max(cost.host, 2 * cost.device)
    assert formula_seconds(machine, model, SHORT, 4)["train"] == cost.fixed + 4 * cost.device
    on_cpu = stage_costs(named("cpu-2"), model, SHORT)["train"]
    assert on_cpu.seconds(named("cpu-2")) == on_cpu.fixed + on_cpu.host + on_cpu.device


def test_the_busy_share_of_a_gpu_grows_with_the_model() -> None:
    tiny = llama_shape(256, 1024, 8, 32_000, 256, 1, "")
    shares = [
        busy_share(named("h200"), PlannedModel(shape, 32, False), [SHORT], overlap=False)
        for shape in (tiny, ONE, EIGHT)
    ]
    assert shares[0] < 0.2
    assert 0.5 < shares[1] < 0.9
    assert shares[2] > 0.95


def test_a_row_of_the_very_same_work_is_believed() -> None:
    measured = {"train": 1500.0, "swap": 0.5, "sample": 900.0, "measure": 2.0, "commit": 1.0}
    assert stage_seconds(named("h200"), [row(measured)], PlannedModel(EIGHT, 16, False), LARGE) == pytest.approx(
        measured
    )


def test_the_nearest_row_counts_most() -> None:
    machine, model = named("h200"), PlannedModel(EIGHT, 16, False)
    plain = formula_seconds(machine, model, LARGE)
    near = {stage: 2 * seconds for stage, seconds in plain.items()}
    far = {
        stage: 8 * seconds for stage, seconds in formula_seconds(machine, PlannedModel(ONE, 16, False), LARGE).items()
    }
    both = stage_seconds(machine, [row(near), row(far, ONE)], model, LARGE)
    assert 2.0 <= both["train"] / plain["train"] < 2.1
    halved = replace(LARGE, train=Training(8.0e6, 782))
    assert stage_seconds(machine, [row(near)], model, halved)["train"] == pytest.approx(near["train"] / 2, rel=1e-3)


def test_a_stage_that_no_row_has_goes_by_the_formula() -> None:
    model = PlannedModel(EIGHT, 16, False)
    seconds = stage_seconds(named("h200"), [row({"train": 1.0, "sample": 0.0})], model, LARGE)
    assert seconds["sample"] == formula_seconds(named("h200"), model, LARGE)["sample"]


def test_the_start_is_that_of_the_rows_and_the_weights() -> None:
    machine = named("h200")
    start, first = start_seconds(machine, [row({})], EIGHT.parameters)
    assert start == pytest.approx(10.0 + 2 * 2 * EIGHT.parameters / machine.disk_bandwidth)
    assert first["train"] == 3.0
    assert start_seconds(machine, [], 0)[0] == machine.start


def test_the_base_model_goes_by_a_base_model_that_was_trained(recipe_of: RecipeMaker) -> None:
    recipe, machine = recipe_of(base={"tokens": 1_000_000}), named("cpu-2")
    plain = base_seconds(machine, [], recipe)
    tiny = llama_shape(64, 192, 2, 200, 64, 1, "")
    alone = base_seconds(machine, [row({}, tiny, base=MeasuredBase(0, 0, 0.0))], recipe)
    assert alone == plain
    slow = MeasuredBase(1000, 10, 2 * (6 * tiny.parameters * 1000 / 8e10 + 10 * 2 * machine.base_layer))
    assert base_seconds(machine, [row({}, tiny, base=slow)], recipe) == pytest.approx(2 * plain)


ARM = [{"train": 0.0, "swap": 1.0, "sample": 10.0, "measure": 5.0, "commit": 0.0}] + [
    {"train": 20.0, "swap": 1.0, "sample": 10.0, "measure": 5.0, "commit": 0.0}
] * 2


def test_arms_add_up_where_they_take_turns_and_overlap_where_they_do_not() -> None:
    assert makespan([ARM, ARM], overlap=False) == 2 * 88
    # Both sides hold 2 x 30 and 2 x 55; the trainer is the longer, and waits for the first samples.
    assert makespan([ARM, ARM], overlap=True) == 2 * 3 + 110 + 10
    assert makespan([ARM], overlap=True) == 88  # one arm has nobody to overlap with
    assert makespan([], overlap=True) == 0.0


def test_cells_divide_arms() -> None:
    assert cells_seconds([ARM] * 4, 2, overlap=False) == 2 * 88
    assert cells_seconds([ARM] * 3, 2, overlap=False) == 2 * 88
    assert cells_seconds([ARM] * 2, 9, overlap=False) == 88
    longer = [*ARM, *ARM]
    assert cells_seconds([ARM, longer, ARM], 2, overlap=False) == 2 * 88  # the two short ones together
