"""The trainer alone, and sampler and trainer at once."""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autophage.errors import AutophageError, RunError
from gpu_bench import subjects
from gpu_bench.evidence import Evidence
from gpu_bench.plan import SIDES, Step
from harness import BENCH, children, engine, light, processes
from harness.rows import OURS
from harness.shapes import BLOCK

if TYPE_CHECKING:
    from autophage.data.mix import TrainingRow

WINDOW_SECONDS = 10.0
"""Time for which sampler and trainer work alone and together."""
PASSES = 2


def train(step: Step, evidence: Evidence, folder: Path) -> None:
    """Worker: passes of the resident trainer over rows of one length. The first warms up."""
    live = engine.Live(subjects.loop_of(step), folder)
    rows, rates = training_rows(step, step.samples), []
    for turn in range(-1, PASSES):
        began = time.perf_counter()
        _fit(live, rows)
        if turn >= 0:
            rates.append(sum(len(row.token_ids) for row in rows) / (time.perf_counter() - began))
    evidence.add(
        step.key, OURS, "training rate", "tokens/s", rates, f"{len(rows)} rows of {BLOCK + step.tokens} tokens"
    )
    if gpu := light.named(str(evidence.facts["device"])):
        per_token = 4 * live.bench.resident.parameters
        evidence.add(step.key, OURS, "mfu", "share", [rate * per_token / gpu.flops for rate in rates])


def training_rows(step: Step, count: int) -> list[TrainingRow]:
    from autophage.data.mix import TrainingRow

    length = BLOCK + step.tokens
    return [TrainingRow([1, *(4 + (7 * n + i) % 200 for i in range(length - 1))], 1) for n in range(count)]


def _fit(live: engine.Live, rows: list[TrainingRow]) -> None:
    from autophage.trainer.fit import FitRequest

    [arm] = live.arms
    live.bench.resident.fit(FitRequest(live.bench.base_weights(arm), rows, arm.recipe, 0))


def both(step: Step, evidence: Evidence, folder: Path) -> None:
    """Worker: rates of sampler and trainer alone and together, each in its own process."""
    rates: dict[str, dict[str, float]] = {}
    for who in (("sampler",), ("trainer",), SIDES):
        rates["+".join(who)] = _at_once(who, step, evidence)
    for side, figure in (("sampler", "sampling rate"), ("trainer", "training rate")):
        alone, together = rates[side][side], rates["+".join(SIDES)][side]
        evidence.add(step.key, f"{side} alone", figure, "tokens/s", [alone])
        evidence.add(step.key, f"{side} beside the other", figure, "tokens/s", [together])
        evidence.add(step.key, f"{side} beside the other", "of alone", "share", [together / alone])


def _at_once(who: tuple[str, ...], step: Step, evidence: Evidence) -> dict[str, float]:
    """The rates of sides that begin to work when all are ready."""
    rates: dict[str, float] = {}
    failures: list[Exception] = []
    with tempfile.TemporaryDirectory(prefix="autophage-bench-") as meeting:
        spec = {
            "step": asdict(step),
            "parent": os.getpid(),
            "meeting": meeting,
            "parties": len(who),
            "window": 2.0 if evidence.parameters["quick"] else WINDOW_SECONDS,
        }

        def ask(side: str) -> None:
            try:
                answer = processes.work(BENCH / "first_gpu.py", side, spec, float(evidence.parameters["deadline"]))
                rates[side] = answer["rate"]
            except AutophageError as error:
                failures.append(error)

        threads = [threading.Thread(target=ask, args=(side,)) for side in who]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if failures:
        raise RunError(str(failures[0]))
    return rates


def side(name: str, folder: Path) -> int:
    """The other end of `processes.work`: one side, in this process."""
    spec: dict[str, Any] = json.loads((folder / "spec.json").read_text("utf-8"))
    children.end_with_parent(int(spec["parent"]))
    step = Step.of(spec["step"])
    live = engine.Live(subjects.loop_of(step), folder)
    answer = _during(spec, name, {"sampler": _sampler, "trainer": _trainer}[name](step, live))
    (folder / "answer.json").write_text(json.dumps(answer), "utf-8")
    return 0


def _sampler(step: Step, live: engine.Live) -> Callable[[], int]:
    own = live.sampler()
    [arm] = live.arms
    served = own.install("bench@0", live.bench.base_weights(arm))
    job = engine.job(served, live.bench.requests(arm, 0), live.bench.decoding(arm))

    def piece() -> int:
        [answers] = engine.sample_together(own, [job])
        return sum(len(answer.token_ids) for answer in answers)

    return piece


def _trainer(step: Step, live: engine.Live) -> Callable[[], int]:
    rows = training_rows(step, 2 * step.batch_size)

    def piece() -> int:
        _fit(live, rows)
        return sum(len(row.token_ids) for row in rows)

    return piece


def _during(spec: Mapping[str, Any], name: str, piece: Callable[[], int]) -> dict[str, float]:
    """Tokens a second of `piece`, repeated for a window. The window begins when every party is ready."""
    piece()  # warms up
    meeting = Path(spec["meeting"])
    (meeting / name).touch()
    while len(list(meeting.iterdir())) < int(spec["parties"]):
        time.sleep(0.05)
    began, tokens = time.perf_counter(), 0
    while time.perf_counter() - began < float(spec["window"]):
        tokens += piece()
    return {"rate": tokens / (time.perf_counter() - began)}
