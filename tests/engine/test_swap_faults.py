"""What can go wrong with a swap, one at a time, through the engine's own cell: each is caught, rolled back and reported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

BROKEN = '''
"""A sampler that takes something else than it is given, and the runs that have it."""
from autophage import environment
environment.apply()
import dataclasses, json, sys
from pathlib import Path
import safetensors.torch, torch
from autophage import actors
from autophage.store.weights import Weights

HONEST = actors.SamplerActor


def changed(weights, change):
    return Weights(safetensors.torch.save(change(safetensors.torch.load(weights.tensors))), weights.config)


def random_b(seed):
    def change(tensors):
        torch.manual_seed(seed)
        return {n: torch.randn_like(t) * 0.05 if "lora_B" in n else t for n, t in sorted(tensors.items())}
    return change


class Broken(HONEST):
    fault = ""
    before = None

    def break_with(self, fault):
        self.fault = fault

    def adapters(self):
        return self._sampler._call("autophage_adapters")

    def install(self, label, weights):
        fault = self.fault
        if fault == "stale" and self.before is not None:
            return self._sampler.install(label, self.before)
        self.before = self.before or weights
        if fault == "half":
            half = Weights(weights.tensors[: len(weights.tensors) // 2], weights.config)
            half.__dict__["digest"] = weights.digest  # what was announced; the rest never came
            weights = half
        elif fault == "scale":
            weights = Weights(weights.tensors, {**weights.config, "lora_alpha": 2 * weights.config["lora_alpha"]})
        elif fault == "module":
            weights = changed(weights, lambda tensors: {n: t for n, t in tensors.items() if "v_proj" not in n})
        elif fault == "arm":
            weights = changed(weights, random_b(99))
        elif fault == "base":
            self._sampler._call("autophage_load_base", self.other_base())
        return self._sampler.install(label, weights)

    def other_base(self):
        path = Path(self._sampler._engine.vllm_config.model_config.model)
        tensors = safetensors.torch.load_file(path / "model.safetensors")
        torch.manual_seed(0)
        return safetensors.torch.save({n: t + 0.02 * torch.randn_like(t) for n, t in sorted(tensors.items())})

    def mend(self):
        if self.fault == "base":
            self._sampler._call("autophage_load_base", None)
        self.fault = ""


actors.SamplerActor = Broken
'''

EACH = (
    BROKEN
    + """
import ray
from autophage.cell import Cell
from autophage.cluster import local_ray
from autophage.errors import SwapError
from autophage.placement import place
from autophage.provenance import begin_run
from autophage.recipe import load_recipe
from autophage.recipe.batching import cohorts_of
from autophage.run import _prepare
from autophage.scheduler import Stage, Work
from autophage.store.rundir import RunDirectory

loaded = load_recipe("smoke")
run = begin_run(loaded, RunDirectory(sys.argv[1]))
arm = loaded.arms[0].name
found = {}
with local_ray():
    placed = place(loaded.recipe, run.logs, at_once=1)
    _prepare(placed, run, lambda *_, **__: None)
    [its] = placed
    cell = Cell(its, run, {one.name: one for one in loaded.arms}, cohorts_of(loaded.arms))
    zero = ray.get(its.trainer.base_weights.remote(arm))
    trained = changed(zero, random_b(1))

    def swap(generation, weights):
        work = Work(arm, generation, Stage.SWAP)
        cell._made(work).weights = weights
        cell.start([work])
        [reference] = cell.running
        try:
            cell.finish(reference)
            return None, cell.made(work)
        except SwapError as error:
            cell._making.clear()
            return str(error), None

    def held():
        return ray.get(its.sampler.adapters.remote())

    told, first = swap(0, zero)
    assert told is None, told
    for fault in ("stale", "half", "base", "scale", "module", "arm"):
        before = held()
        ray.get(its.sampler.break_with.remote(fault))
        told, _ = swap(1, trained)
        after = held()
        ray.get(its.sampler.mend.remote())
        again, made = swap(1, trained)
        found[fault] = {"told": told, "rolled_back": after == before, "again": again}
        if made is not None:
            found[fault]["canary"] = made.canary
            ray.get(its.sampler.remove.remote(made.served))
Path(sys.argv[1], "found.json").write_text(json.dumps(found))
"""
)

RUN = (
    BROKEN
    + """
from autophage.cli import main

Broken.fault = "stale"
sys.exit(main(["run", "smoke", "--out", sys.argv[1]]))
"""
)

FAULTS = {
    "stale": "a stale adapter, of the generation before",
    "half": "half of an adapter",
    "base": "an adapter on another base",
    "scale": "an adapter with another scale",
    "module": "an adapter without one of its modules",
    "arm": "another arm's adapter",
}


@pytest.fixture(scope="module")
def found(variables: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("swaps")
    script = folder / "each.py"
    script.write_text(EACH, encoding="utf-8")
    command = [sys.executable, str(script), str(folder / "run")]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=550)
    assert done.returncode == 0, done.stderr[-3000:]
    faults: dict[str, dict[str, Any]] = json.loads((folder / "run/found.json").read_text("utf-8"))
    return faults


@pytest.mark.parametrize("fault", FAULTS)
def test_it_is_caught_and_rolled_back(fault: str, found: dict[str, dict[str, Any]]) -> None:
    one = found[fault]
    assert one["told"] is not None, f"{FAULTS[fault]} was served"
    reason = "is not the one that was sent" if fault == "half" else "canary log-probs differ"
    assert reason in one["told"]
    assert one["rolled_back"], "the adapter stayed in the sampler"


@pytest.mark.parametrize("fault", FAULTS)
def test_the_right_one_is_served_afterwards(fault: str, found: dict[str, dict[str, Any]]) -> None:
    assert found[fault]["again"] is None
    assert found[fault]["canary"] < 1e-4


def test_a_run_says_so_and_commits_nothing_of_it(variables: dict[str, str], tmp_path: Path) -> None:
    script, out = tmp_path / "run.py", tmp_path / "run"
    script.write_text(RUN, encoding="utf-8")
    command = [sys.executable, str(script), str(out)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 1, done.stderr[-2000:]
    assert "the sampler does not serve the weights" in done.stderr
    assert "Traceback" not in done.stderr
    last = json.loads((out / "events.jsonl").read_text("utf-8").splitlines()[-1])
    assert last["kind"] == "failed"
    assert "canary log-probs differ" in last["error"]
    committed = {path.parent.name for path in out.glob("arms/*/gen-*/manifest.json")}
    assert committed <= {"gen-000"}
