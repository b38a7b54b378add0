"""Makes an actor of a run fail as `AUTOPHAGE_TEST_FAULT` says. It is put on the path of the run's processes.

`swap-NAME` is one of `swap_faults`. Every other fault happens once: the folder `AUTOPHAGE_TEST_ONCE` records it, and the
process that replaces the actor is sound.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import os
import sys
import time
from pathlib import Path

import swap_faults


def first_time(name: str) -> bool:
    try:
        Path(os.environ["AUTOPHAGE_TEST_ONCE"], name).mkdir()
    except FileExistsError:
        return False
    return True


def lost_in_thought(*_, **__) -> None:
    time.sleep(3600)


def spoil(actors, fault: str) -> None:
    if fault.startswith("swap-"):
        swap_faults.spoil(actors, fault.removeprefix("swap-"))
        return
    sample, fit = actors.SamplerActor.sample, actors.TrainerActor.fit

    def spoiled_sample(self, keys, *others):
        if fault == "sampler-hangs" and first_time(fault):
            self._sampler.sample = lost_in_thought
        if fault == "engine-raises" and first_time(fault):

            def step():
                raise RuntimeError("the engine's core is gone")

            self._sampler._engine.step = step
        if fault == "engine-writes-nothing" and first_time(fault):
            self._sampler._engine.step = lambda: time.sleep(0.01) or []
        return sample(self, keys, *others)

    def spoiled_fit(self, *arguments, **options):
        if fault == "trainer-hangs" and first_time(fault):
            self._bench.fit = lost_in_thought
        return fit(self, *arguments, **options)

    actors.SamplerActor.sample, actors.TrainerActor.fit = spoiled_sample, spoiled_fit


class Finder(importlib.abc.MetaPathFinder):
    """Patches `autophage.cluster.actors` as soon as it has been imported."""

    def find_spec(self, name, path, target=None):
        if name != "autophage.cluster.actors":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            spoil(module, os.environ["AUTOPHAGE_TEST_FAULT"])

        spec.loader.exec_module = exec_module
        return spec


if "AUTOPHAGE_TEST_FAULT" in os.environ:
    sys.meta_path.insert(0, Finder())
