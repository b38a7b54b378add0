"""The object store of a run holds its models in transit, within the machine's memory and shared memory."""

from __future__ import annotations

import pytest

from autophage.plan.object_store import MARGIN, bounded, store_here, wanted_bytes
from autophage.plan.shape import llama_shape
from autophage.recipe import load_recipe

GIB = 1 << 30
LLAMA_8B = llama_shape(4096, 14336, 32, 128_256, 1024, 2, "a test")
ONE_ARM = ("sweep={}", "control.enabled=false", "model.rank=32")


def test_two_float32_models_of_each_arm_are_wanted() -> None:
    one = wanted_bytes(load_recipe("smoke", ONE_ARM).arms, LLAMA_8B) - MARGIN
    assert one == 2 * 4 * 32 * LLAMA_8B.adapter_per_rank
    assert one / 2 == pytest.approx(335e6, rel=0.01)
    three = wanted_bytes(load_recipe("smoke", ("model.rank=32",)).arms, LLAMA_8B) - MARGIN
    assert three == 3 * one


def test_a_carried_optimizer_is_in_transit_too() -> None:
    arms = load_recipe("smoke", (*ONE_ARM, "train.optimizer=carried")).arms
    assert wanted_bytes(arms, LLAMA_8B) - MARGIN == 2 * (4 + 8) * 32 * LLAMA_8B.adapter_per_rank


def test_all_weights_of_8b_do_not_fit_into_half_a_gibibyte() -> None:
    arms = load_recipe("smoke", (*ONE_ARM, "model.method=full")).arms
    wanted = wanted_bytes(arms, LLAMA_8B)
    assert wanted > 2 * 32e9
    assert bounded(wanted, 512 * GIB, 256 * GIB).size == wanted


def test_a_model_of_unknown_shape_leaves_the_margin() -> None:
    assert wanted_bytes(load_recipe("smoke", ONE_ARM).arms, None) == MARGIN


def test_a_store_that_fits_has_no_warning() -> None:
    assert bounded(2 * GIB, 64 * GIB, 32 * GIB).warning == ""


@pytest.mark.parametrize(
    ("memory", "shared_memory", "size", "words"),
    [
        (1000 * GIB, 8 * GIB, 6.4, ("/dev/shm has 8.0 GiB free", "writes the rest to disk", "--shm-size=75g")),
        (64 * GIB, 500 * GIB, 19.2, ("64.0 GiB of memory are available", "lower model.rank")),
        (1000 * GIB, GIB // 16, 9.0, ("/dev/shm has 0.06 GiB free", "on disk instead", "--shm-size=75g")),
    ],
)
def test_what_bounds_the_store_is_told(memory: int, shared_memory: int, size: float, words: tuple[str, ...]) -> None:
    store = bounded(60 * GIB, memory, shared_memory)
    assert store.size / GIB == pytest.approx(size)
    assert all(one in store.warning for one in words), store.warning


def test_a_small_machine_keeps_the_least_store() -> None:
    assert bounded(60 * GIB, GIB, 64 * GIB).size == MARGIN


def test_a_shipped_recipe_fits_here() -> None:
    store = store_here(load_recipe("smoke").arms)
    assert MARGIN < store.size < 2 * MARGIN
