"""The values of "auto" keys on machines of several sizes: placement, cells, sequences, and their reasons."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.plan.conftest import PlanMaker, RecipeMaker

from autophage.errors import UserError
from autophage.plan.choices import MOST_PER_GPU, Choices, Site, decide, require_division
from autophage.plan.footprint import demand
from autophage.plan.machines import named
from autophage.plan.memory import divide
from autophage.plan.shape import shape_of
from autophage.recipe import load_recipe
from autophage.recipe.arms import expand
from autophage.recipe.tables.sample import USUAL_SEQUENCES

TEXT = {"kind": "text", "path": "texts"}
ONE_B, EIGHT_B = {"path": "org/Model-1B"}, {"path": "org/Model-8B"}
ALL: dict[str, Any] = {"cluster": {"cells": "auto", "cells_per_gpu": "auto"}}
H200, H100, SMALL = named("h200"), named("h100"), named("rtx-4090")


def chosen(recipe_of: RecipeMaker, site: Site, sequences: int | None = None, **tables: Any) -> Choices:
    recipe = recipe_of(source=TEXT, **tables)
    return decide(recipe, expand(recipe), site, sequences)


def test_on_a_cpu_nothing_changes(recipe_of: RecipeMaker) -> None:
    choices = chosen(recipe_of, Site(named("cpu-8"), 0, 8), model=EIGHT_B, **ALL)
    assert choices.values == {
        "devices": "serial",
        "cluster.cells_per_gpu": 1,
        "cluster.cells": 1,
        "sample.concurrency": USUAL_SEQUENCES,
    }
    assert set(choices.reasons.values()) == {"without a GPU"}


def test_a_number_in_the_recipe_is_no_choice(recipe_of: RecipeMaker) -> None:
    tables: dict[str, Any] = {"devices": "serial", "sample": {"concurrency": 100}}
    assert chosen(recipe_of, Site(H200, 1, 16), model=EIGHT_B, **tables) == Choices()


@pytest.mark.parametrize(
    ("model", "machine", "gpus", "cells", "devices", "reason"),
    [
        (ONE_B, H200, 1, 1, "colocated", "fit side by side"),
        (EIGHT_B, H200, 1, 1, "colocated", "fit side by side"),
        (EIGHT_B, H200, 2, 1, "disjoint", "2 GPUs for 1 cell"),
        (EIGHT_B, H200, 2, 2, "colocated", "fit side by side"),
        (EIGHT_B, H200, 8, 4, "disjoint", "8 GPUs for 4 cells"),
        ({"path": "org/Model-14B"}, replace(H200, memory_gib=60.0), 1, 1, "serial", "take turns"),
    ],
)
def test_devices_go_by_gpus_and_memory(
    recipe_of: RecipeMaker, model: dict[str, str], machine: Any, gpus: int, cells: int, devices: str, reason: str
) -> None:
    choices = chosen(recipe_of, Site(machine, gpus, 64), model=model, cluster={"cells": cells})
    assert choices.values["devices"] == devices
    assert reason in choices.reasons["devices"]


def test_a_side_of_several_gpus_is_disjoint(recipe_of: RecipeMaker) -> None:
    choices = chosen(recipe_of, Site(H200, 4, 64), model=EIGHT_B, cluster={"sampler_gpus": 2})
    assert choices.values["devices"] == "disjoint"


@pytest.mark.parametrize("devices", ["auto", "colocated", "serial", "disjoint"])
@pytest.mark.parametrize("machine", [H200, H100, SMALL], ids=lambda one: one.name)
def test_the_sequences_fit_at_full_length(recipe_of: RecipeMaker, machine: Any, devices: str) -> None:
    sizes = {"sample": {"count": 5000, "max_tokens": 128}, "train": {"batch_size": 4}}
    tables: dict[str, Any] = {"model": ONE_B, "devices": devices, **sizes}
    recipe = recipe_of(source=TEXT, **tables)
    arms, shape = expand(recipe), shape_of(recipe)
    choices = decide(recipe, arms, Site(machine, 1, 16))
    settled = choices.applied(recipe)
    sequences = settled.sample.sequences
    assert sequences >= USUAL_SEQUENCES
    assert shape is not None
    division = divide(machine.memory_bytes, demand(machine, settled, shape, slots=len(arms)), settled.devices)
    assert division.fits
    assert division.sequences == sequences
    assert "KV cache of" in choices.reasons["sample.concurrency"]


def test_more_memory_holds_more_sequences(recipe_of: RecipeMaker) -> None:
    tables: dict[str, Any] = {
        "model": EIGHT_B,
        "sample": {"count": 5000, "max_tokens": 448},
        "train": {"batch_size": 4},
    }
    found = [
        chosen(recipe_of, Site(replace(H200, memory_gib=gib), 1, 16), **tables).values["sample.concurrency"]
        for gib in (80.0, 140.4, 256.0)
    ]
    numbers = list(map(int, found))
    assert numbers == sorted(numbers)
    assert numbers[-1] == 1024


def test_fewer_than_usual_where_a_part_of_the_usual_does_not_fit(recipe_of: RecipeMaker) -> None:
    tables: dict[str, Any] = {
        "model": EIGHT_B,
        "devices": "disjoint",
        "sample": {"count": 5000, "max_tokens": 2000},
        "train": {"batch_size": 1},
    }
    choices = chosen(recipe_of, Site(replace(H200, memory_gib=48.0), 2, 16), **tables)
    assert int(choices.values["sample.concurrency"]) < USUAL_SEQUENCES
    assert "a part of them" in choices.reasons["sample.concurrency"]


def test_no_more_sequences_than_the_arms_write(recipe_of: RecipeMaker) -> None:
    choices = chosen(recipe_of, Site(H200, 1, 16), model=ONE_B, sample={"count": 150})
    assert choices.values["sample.concurrency"] == 384  # an arm and its control write 300
    assert "300 samples" in choices.reasons["sample.concurrency"]


def test_a_run_keeps_its_first_number_where_that_fits(recipe_of: RecipeMaker) -> None:
    tables: dict[str, Any] = {
        "model": EIGHT_B,
        "sample": {"count": 5000, "max_tokens": 448},
        "train": {"batch_size": 4},
    }
    kept = chosen(recipe_of, Site(H200, 1, 16), 384, **tables)
    assert kept.values["sample.concurrency"] == 384
    assert kept.reasons["sample.concurrency"] == "as when this run started"
    assert chosen(recipe_of, Site(named("cpu-2"), 0, 2), 1024, **tables).values["sample.concurrency"] == 1024
    small = Site(replace(H200, memory_gib=34.0), 1, 16)
    assert chosen(recipe_of, small, 1024, **tables) == chosen(recipe_of, small, **tables)


def test_small_models_share_a_gpu_and_large_ones_do_not(recipe_of: RecipeMaker) -> None:
    arms: dict[str, Any] = {"sweep": {"seed": list(range(1, 9))}, "control": {"enabled": False}}
    shared = {
        size: chosen(recipe_of, Site(H200, 1, 64), model={"path": f"org/Model-{size}"}, **arms, **ALL)
        for size in ("100M", "1B", "8B")
    }
    numbers = {size: int(choices.values["cluster.cells_per_gpu"]) for size, choices in shared.items()}
    assert numbers["100M"] > numbers["1B"] >= numbers["8B"] == 1
    assert numbers["100M"] <= MOST_PER_GPU
    for size, choices in shared.items():
        assert choices.values["cluster.cells"] == numbers[size]
        assert "keeps the GPU busy for" in choices.reasons["cluster.cells_per_gpu"]


@pytest.mark.parametrize(
    ("cores", "cells", "machine", "most", "reason"),
    [
        (4, "auto", H200, 2, "4 CPU cores"),
        (64, 3, H200, 3, "3 cells"),
        (64, "auto", replace(H200, memory_gib=24.0), 4, "memory"),
    ],
)
def test_what_bounds_the_cells_of_a_gpu(
    recipe_of: RecipeMaker, cores: int, cells: int | str, machine: Any, most: int, reason: str
) -> None:
    tables: dict[str, Any] = {
        "sweep": {"seed": list(range(1, 9))},
        "cluster": {"cells": cells, "cells_per_gpu": "auto"},
    }
    choices = chosen(recipe_of, Site(machine, 1, cores), model={"path": "org/Model-100M"}, **tables)
    assert 1 < int(choices.values["cluster.cells_per_gpu"]) <= most
    assert reason in choices.reasons["cluster.cells_per_gpu"]


def test_choices_are_in_the_recipe_of_every_arm() -> None:
    loaded = load_recipe("smoke")
    choices = Choices({"devices": "colocated", "sample.concurrency": 512, "cluster.cells": 2}, {})
    settled = choices.applied_to_all(loaded)
    for recipe in (settled.recipe, *(arm.recipe for arm in settled.arms)):
        assert (recipe.devices, recipe.sample.concurrency, recipe.cluster.cells) == ("colocated", 512, 2)
    assert expand(settled.recipe) == settled.arms


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({"cluster": {"cells": 8, "cells_per_gpu": 8}}, "cluster.cells_per_gpu = 2 would fit"),
        ({"cluster": {"cells": 2, "cells_per_gpu": 2, "trainer_gpus": 2}}, "Leave both at 1"),
        ({"cluster": {"cells": 2, "cells_per_gpu": 2}, "sample": {"memory": 0.6}}, "less than 0.5"),
    ],
)
def test_too_many_cells_are_refused(recipe_of: RecipeMaker, tables: dict[str, Any], words: str) -> None:
    recipe = recipe_of(source=TEXT, model=EIGHT_B, devices="colocated", **tables)
    with pytest.raises(UserError, match=words):
        require_division(recipe, expand(recipe), Site(H200, 1, 64))
    require_division(recipe, expand(recipe), Site(named("cpu-2"), 0, 2))


def test_a_plan_states_choices_and_refuses_too_many_cells(made: PlanMaker) -> None:
    plan = made("h200", source=TEXT, model=ONE_B)
    assert any(line.startswith("devices = colocated: ") for line in plan.choices)
    assert any(line.startswith("sample.concurrency = ") for line in plan.choices)
    assert "estimated, never measured on this GPU" in plan.assumptions[0]
    with pytest.raises(UserError, match="a cell has 12% of a GPU"):
        made("h200", source=TEXT, model=EIGHT_B, cluster={"cells": 8, "cells_per_gpu": 8})


def test_cells_on_one_gpu_shorten_a_plan_of_a_small_model(made: PlanMaker) -> None:
    tables: dict[str, Any] = {
        "source": TEXT,
        "model": {"path": "org/Model-100M"},
        "devices": "serial",
        "sweep": {"seed": [1, 2, 3, 4]},
        "control": {"enabled": False},
    }
    one, four = made("h200", **tables), made("h200", **tables, cluster={"cells": 4, "cells_per_gpu": 4})
    assert (one.gpus, four.gpus) == (1, 1)
    assert one.seconds is not None
    assert four.seconds is not None
    start = one.start_seconds + sum(one.first.values())
    assert four.seconds - start < 0.4 * (one.seconds - start)
    assert four.memory is not None
    assert one.memory is not None
    assert four.memory.device == one.memory.device // 4
    assert any("4 cells share a GPU" in line for line in four.assumptions)
