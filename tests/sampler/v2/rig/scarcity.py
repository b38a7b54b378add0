"""Scenarios of an engine that lacks memory: in a step, while it sleeps, and when it starts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from autophage.errors import RunError
from autophage.sampler import start
from autophage.sampler.protocol import Decoding, Request
from autophage.sampler.recorder import Recorder

from .engine import BASE, SETTINGS, Rig, bits, prompts, tokens
from .reference import STOP
from .scenarios import EARLY

DOCUMENTS = 12
DECODING = Decoding(14, 1.0, 1.0, 0, (STOP,))


def fail(rows: int, most: int) -> None:
    if rows > most:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")


@contextmanager
def failing(owner: Any, name: str, check: Callable[..., None]) -> Iterator[None]:
    """Call `check` before the method `name` of `owner`."""
    own, whole = name in vars(owner), getattr(owner, name)

    def checked(*arguments: Any, **named: Any) -> Any:
        check(*arguments)
        return whole(*arguments, **named)

    setattr(owner, name, checked)
    try:
        yield
    finally:
        if own:
            setattr(owner, name, whole)
        else:
            delattr(owner, name)


def memory(folder: Path) -> Rig:
    """Run out of memory in the forward pass, in the recorder and in the sampling half, until one document fits."""
    rig = Rig(folder)
    weights = rig.reference.adapter(1)
    served = rig.sampler.install("arm", weights)
    requests = [Request(text, 50 + i) for i, text in enumerate(prompts(DOCUMENTS, seed=6))]
    whole = rig.write(served, requests, DECODING)
    model, scheduler = rig.runner.model, rig.core.scheduler

    def check(where: str, left: int, broken: Any) -> None:
        """Require the same documents, `left` at a time from here on."""
        with broken:
            found = rig.write(served, requests, DECODING)
        rig.require(tokens(found) == tokens(whole), f"{where}: other documents")
        rig.agree(where, weights, requests, found)
        notes = rig.sampler.notes()
        rig.require(
            len(notes) == 1 and f"written {left} at a time" in notes[0], f"{where}: not {left} at once: {notes}"
        )
        rig.require(rig.used_blocks() == 0, f"{where}: {rig.used_blocks()} blocks of the cache are lost")

    forward = failing(model, "forward", lambda *_: fail(len(scheduler.running), 7))
    check("the forward pass", 6, forward)
    check("the recorder", 3, failing(Recorder, "_keep", lambda _, logits: fail(len(logits), 3)))
    check("the sampling half", 1, failing(model, "compute_logits", lambda hidden, *_: fail(len(hidden), 1)))
    rig.require(tokens(rig.write(served, requests, DECODING)) == tokens(whole), "afterwards: other documents")
    with failing(model, "compute_logits", lambda *_: fail(1, 0)):
        rig.refused(
            "no document fits", RunError, "with one document at a time", lambda: rig.write(served, requests, DECODING)
        )
    return rig


def sleeping(folder: Path) -> Rig:
    """Sleep between calls. A CPU's worker keeps its memory; the engine's state is a GPU's."""
    rig = Rig(folder, dataclasses.replace(SETTINGS, sleeps=True))
    weights = {n: rig.reference.adapter(n) for n in (1, 2)}
    whole = rig.reference.whole(1)
    requests = [Request(text, 9 + i) for i, text in enumerate(prompts(3))]
    first = None
    for turn in range(2):
        served = {n: rig.sampler.install(f"arm-{n}@{turn}", one) for n, one in weights.items()}
        pushed = rig.sampler.install(f"whole@{turn}", whole)
        found = {n: rig.write(one, requests, EARLY) for n, one in served.items()}
        rig.require(rig.engine.is_sleeping(), f"turn {turn}: awake after documents were written")
        for n, documents in found.items():
            rig.agree(f"turn {turn}, adapter {n}", weights[n], requests, documents)
        rig.agree(f"turn {turn}, whole weights", whole, requests, rig.write(pushed, requests, EARLY))
        first = first or [bits(one) for one in found.values()]
        rig.require([bits(one) for one in found.values()] == first, f"turn {turn}: bits differ from the first turn")
        for one in (*served.values(), pushed):
            rig.sampler.remove(one)
            rig.require(rig.engine.is_sleeping(), f"turn {turn}: awake after {one.name} was removed")
    rig.require(rig.adapters() == [], f"adapters are left: {rig.adapters()}")
    return rig


def restart(folder: Path) -> Rig:
    """Start while another process frees memory of the GPU: vLLM's check fails once, then holds, then never holds again."""
    from vllm.v1.worker.cpu_worker import CPUWorker

    start.PAUSE, start.ATTEMPTS = 0.01, 2
    measure, tries = CPUWorker.determine_available_memory, []

    def measured(worker: Any) -> int:
        tries.append(worker)
        if len(tries) == 1:
            raise AssertionError(
                "Error in memory profiling. Initial free memory 10.0 GiB, current free memory 20.0 GiB."
            )
        if len(tries) > 2:
            raise ValueError(
                "Free memory on device cuda:0 (1/80 GiB) is less than desired GPU memory utilization (0.4)"
            )
        return measure(worker)

    CPUWorker.determine_available_memory = measured  # type: ignore[method-assign, assignment]
    rig = Rig(folder)
    rig.facts["starts"] = len(tries)
    weights = rig.reference.adapter(1)
    requests = [Request(text, 9 + i) for i, text in enumerate(prompts(3))]
    rig.agree(
        "after a failed start", weights, requests, rig.write(rig.sampler.install("arm", weights), requests, EARLY)
    )
    rig.agree("the base", None, requests, rig.write(BASE, requests, EARLY))
    rig.refused("memory that never suffices", RunError, "lower sample.memory", lambda: Rig(folder / "again"))
    rig.facts["tries"] = len(tries) - 2
    return rig
