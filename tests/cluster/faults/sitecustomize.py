"""Make an actor of a run fail as `AUTOPHAGE_TEST_FAULT` says. This file is on the path of the run's processes.

`swap-NAME` is one of `swap_faults`. Every other fault happens once. The folder `AUTOPHAGE_TEST_ONCE` records it, and the
process that replaces the actor is sound. The file `AUTOPHAGE_TEST_PICKLED` lists the weights that any process pickles.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import swap_faults  # type: ignore[import-not-found]  # found beside this file


def first_time(name: str) -> bool:
    try:
        Path(os.environ["AUTOPHAGE_TEST_ONCE"], name).mkdir()
    except FileExistsError:
        return False
    return True


def lost_in_thought(*_: object, **__: object) -> None:
    time.sleep(3600)


def spoil(actors: Any, fault: str) -> None:
    if fault.startswith("swap-"):
        swap_faults.spoil(actors, fault.removeprefix("swap-"))
        return
    sample, fit = actors.SamplerActor.sample, actors.TrainerActor.fit

    def spoiled_sample(self: Any, keys: Any, *others: Any) -> Any:
        if fault == "sampler-hangs" and first_time(fault):
            self._sampler.sample = lost_in_thought
        if fault == "engine-raises" and first_time(fault):

            def step() -> None:
                raise RuntimeError("the engine's core is gone")

            self._sampler._engine.step = step
        if fault == "engine-writes-nothing" and first_time(fault):

            def silent_step() -> list[Any]:
                time.sleep(0.01)
                return []

            self._sampler._engine.step = silent_step
        return sample(self, keys, *others)

    def spoiled_fit(self: Any, *arguments: Any, **options: Any) -> Any:
        if fault == "trainer-hangs" and first_time(fault):
            self._bench.fit = lost_in_thought
        return fit(self, *arguments, **options)

    actors.SamplerActor.sample, actors.TrainerActor.fit = spoiled_sample, spoiled_fit


def count_pickles(store: Any, trace: str) -> None:
    reduce = store.Weights.__reduce_ex__

    def counted(self: Any, protocol: Any) -> Any:
        with open(trace, "a") as file:
            print(self.digest, file=file)
        return reduce(self, protocol)

    store.Weights.__reduce_ex__ = counted


class Finder(importlib.abc.MetaPathFinder):
    """Patches a module as soon as it has been imported."""

    def __init__(self, module: str, patch: Callable[[ModuleType], None]) -> None:
        self.module, self.patch = module, patch

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != self.module:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None
        loader: Any = spec.loader
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            self.patch(module)

        loader.exec_module = exec_module
        return spec


if fault := os.environ.get("AUTOPHAGE_TEST_FAULT"):
    sys.meta_path.insert(0, Finder("autophage.cluster.actors", partial(spoil, fault=fault)))
if trace := os.environ.get("AUTOPHAGE_TEST_PICKLED"):
    sys.meta_path.insert(0, Finder("autophage.store.weights", partial(count_pickles, trace=trace)))
