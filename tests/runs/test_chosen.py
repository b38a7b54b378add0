"""The choices of a run are recorded when it starts, kept on a resume, and a difference is told."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from autophage.plan.choices import Choices, Site
from autophage.plan.machines import named
from autophage.recipe import LoadedRecipe, load_recipe, resolved_toml
from autophage.runs import chosen
from autophage.runs.directory import as_begun
from autophage.store.rundir import RunDirectory

Run = Callable[..., "subprocess.CompletedProcess[str]"]
H200 = Site(named("h200"), 1, 64)
CPU = Site(named("cpu-2"), 0, 2)


def loaded(*settings: str) -> LoadedRecipe:
    return load_recipe("smoke", settings)


def recorded(choices: Choices) -> dict[str, object]:
    """Return the choices as a resumed run reads them."""
    facts: dict[str, object] = json.loads(json.dumps({"choices": chosen.as_facts(choices)}))
    return facts


def test_a_new_run_on_a_gpu_states_each_choice() -> None:
    settled, choices, notes = chosen.settle(loaded("sample.concurrency=auto", "sample.count=4000"), H200, {})
    assert settled.recipe.devices == "colocated"
    assert settled.recipe.sample.concurrency == 1024
    assert notes == choices.sentences()
    assert notes[0].startswith("devices = colocated: ")


def test_on_a_cpu_the_usual_is_not_worth_a_note() -> None:
    settled, _, notes = chosen.settle(loaded(), CPU, {})
    assert (settled.recipe.devices, settled.recipe.sample.concurrency) == ("serial", 64)
    assert notes == []


def test_another_machine_keeps_the_number_of_sequences_and_tells_another_placement() -> None:
    one = loaded("sample.concurrency=auto", "sample.count=4000")
    _, first, _ = chosen.settle(one, H200, {})
    settled, _, notes = chosen.settle(one, CPU, recorded(first))
    assert settled.recipe.sample.concurrency == first.values["sample.concurrency"] == 1024
    assert settled.recipe.devices == "serial"
    assert notes == ["devices was colocated when this run started and is now serial"]
    assert chosen.settle(one, H200, recorded(first))[2] == first.sentences()


def test_a_number_that_does_not_fit_here_is_replaced_and_told() -> None:
    one = loaded("sample.concurrency=auto", "model.path=org/Model-8B", "source.kind=text", "source.path=README.md",
                 "sample.max_tokens=448", "sample.count=4000", "train.batch_size=4")  # fmt: skip
    _, first, _ = chosen.settle(one, Site(named("h200"), 1, 64), {})
    smaller = Site(named("a100-40"), 1, 64)
    settled, _, notes = chosen.settle(one, Site(smaller.machine, 2, 64), recorded(first))
    assert settled.recipe.sample.sequences < int(first.values["sample.concurrency"])
    assert any("last bits may differ" in note for note in notes)


def test_a_run_that_began_with_a_number_goes_on_with_it(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.recipe.write_text(resolved_toml(loaded("sample.concurrency=256")), "utf-8")
    resumed = as_begun(loaded("sample.concurrency=auto"), run)
    recipes = [resumed.recipe, *(arm.recipe for arm in resumed.arms)]
    assert {one.sample.concurrency for one in recipes} == {256}
    explicit = loaded("sample.concurrency=100")
    assert as_begun(explicit, run) is explicit


@pytest.mark.parametrize(
    ("kinds", "name"),
    [
        ({"accelerator_type:H200": 1.0}, "h200"),
        ({"accelerator_type:H200": 1.0, "accelerator_type:H100": 1.0}, "h100"),
        ({}, None),
    ],
)
def test_gpus_of_other_machines_are_recognised_by_rays_name(kinds: dict[str, float], name: str | None) -> None:
    site = chosen.site_of([{"CPU": 4.0}, {"CPU": 8.0, "GPU": 2.0, **kinds}])
    assert (site.gpus, site.cores) == (2, 12)
    assert site.known == (name is not None)
    if name is not None:
        assert site.machine.memory_gib == named(name).memory_gib


@pytest.mark.slow
def test_a_run_records_its_choices(smoke_run: Path) -> None:
    choices = RunDirectory(smoke_run).read_environment()["choices"]
    assert choices["devices"] == {"value": "serial", "reason": "without a GPU"}
