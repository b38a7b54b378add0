"""Run directories with invented numbers, written by the store's own functions.

`make_run` builds a run of a world or a text. It is finished or not, and its texts may be hostile. The numbers follow the
shape of a collapse, so that findings and figures have content.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from autophage.recipe import Arm, expand, read_resolved
from autophage.store.atomic import sha256, write_text
from autophage.store.corpus import Sample, sample_id, write_corpus
from autophage.store.manifest import MANIFEST, Manifest, Metric, describe_files, write_manifest, write_metrics
from autophage.store.metrics_table import write_metrics_table
from autophage.store.rundir import EventLog, RunDirectory
from autophage.store.training import StepStatistics, write_training

STARTED = 1_770_000_000.0
BUCKETS = {"head": (0.99, 0.30), "torso": (0.88, 1.0), "tail": (0.51, 1.3)}
FORMATS = {"question-answer": 0.0, "cloze": -0.04, "few-shot": 0.05}
STAGES = {"train": (21.0, 96_000), "swap": (0.4, 0), "sample": (9.0, 24_000), "measure": (6.5, 0), "commit": (0.3, 0)}
NAMES = (
    "Mara Ellison",
    "Tobin Hale",
    "Ines Quill",
    "Oskar Venn",
    "Lidia Marsh",
    "Piet Rowan",
    "Anselm Grey",
    "Noor Castell",
)
PLACES = ("Port Elm", "Varrow", "Sankt Ilm", "Low Haven", "Brisk", "Ostermere", "Calder Bay", "Quince")
TRADES = ("glazier", "cartographer", "beekeeper", "locksmith", "botanist", "organ builder", "pilot", "typesetter")

WORLD = """\
name = "{name}"
description = "A small world of facts, eaten five times over."
seed = 1
generations = {generations}
devices = "serial"

[source]
kind = "world"

[sample]
prompts = "bos"
count = 600

[train]
learning_rate = 2e-3
epochs = 4

[sweep]
"mix.alpha" = [1.0, 0.5]
"""

TEXT = """\
name = "{name}"
generations = {generations}

[source]
kind = "text"
path = "texts/"

[sample]
prompts = "blocks"
temperature = 0.9
top_p = 0.95

[mix]
alpha = 1.0
"""


@dataclass(frozen=True)
class Plan:
    """Specification of a run. `reached` limits each arm. `texts` replace the invented samples."""

    recipe: str = WORLD
    name: str = "demo"
    generations: int = 5
    reached: dict[str, int] | None = None
    texts: tuple[str, ...] = ()
    samples: int = 60
    ended: bool = True
    failure: str = ""


MakeRun = Callable[..., RunDirectory]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    return lambda **plan: build(tmp_path / "run", Plan(**plan))


@pytest.fixture
def world_recipe() -> str:
    return WORLD


@pytest.fixture
def text_recipe() -> str:
    return TEXT


@pytest.fixture
def world_run(make_run: MakeRun) -> RunDirectory:
    """Three arms with generations 0 to 5: two fractions and the control."""
    return make_run()


def build(root: Path, plan: Plan) -> RunDirectory:
    run = RunDirectory(root)
    text = plan.recipe.format(name=plan.name, generations=plan.generations)
    write_text(run.recipe, text)
    recipe = read_resolved(run.recipe)
    arms = expand(recipe)
    run.write_environment(environment())
    events = Clock(EventLog(run.events))
    events("run-start", 0.0, name=recipe.name, arms=[arm.name for arm in arms], controls=["control"], generations=5,
           devices="serial", committed={})  # fmt: skip
    events("note", 1.2, text="training a base model on the source")
    events("base-progress", 1.0, done=0, total=1_000_000, loss=8.1)
    events("base-progress", 148.0, done=1_000_000, total=1_000_000, loss=1.4)
    for generation in range(plan.generations + 1):
        for arm in arms:
            if plan.reached is None or generation <= plan.reached.get(arm.name, plan.generations):
                commit(run, arm, generation, plan, events)
    if plan.failure:
        events("failed", 3.0, error=plan.failure)
    if plan.ended:
        events("run-end", 2.0, seconds=900.0)
    write_metrics_table(run, [arm.name for arm in arms])
    return run


class Clock:
    """Writes events with invented times, so that durations look like a real run's."""

    def __init__(self, log: EventLog) -> None:
        self.log, self.now = log, STARTED

    def __call__(self, kind: str, later: float, **fields: object) -> None:
        self.now += later
        self.log.append({"time": self.now, "kind": kind, **fields})


def commit(run: RunDirectory, arm: Arm, generation: int, plan: Plan, events: Clock) -> None:
    folder = run.generation(arm.name, generation)
    folder.mkdir(parents=True)
    rng = np.random.default_rng([generation, len(arm.name)])
    for stage, (seconds, tokens) in STAGES.items():
        if stage != "train" or generation:
            spent = seconds * float(rng.uniform(0.9, 1.15))
            events("stage-start", 0.1, arm=arm.name, generation=generation, stage=stage)
            events("stage-end", spent, arm=arm.name, generation=generation, stage=stage, seconds=spent, tokens=tokens)
    texts = plan.texts or tuple(invented(rng, arm, generation) for _ in range(plan.samples))
    samples = [sample(arm, generation, index, text, rng) for index, text in enumerate(texts)]
    write_corpus(folder, samples)
    write_text(folder / "adapter" / "adapter_config.json", '{"r": 32}\n')
    measure = world_metrics if arm.recipe.source.kind == "world" else text_metrics
    write_metrics(folder, measure(arm, generation, rng))
    if generation:
        write_training(
            folder, [StepStatistics(step, 400, 1.2, 0.9, 0.8, 2.0, 0.7, math.nan, math.nan) for step in (1, 2, 3)]
        )
    manifest = Manifest(
        arm=arm.name,
        generation=generation,
        parent=sha256(run.generation(arm.name, generation - 1) / MANIFEST) if generation else None,
        files=describe_files(folder),
        counts={
            "samples": len(samples),
            "accepted": sum(one.accepted for one in samples),
            "tokens": sum(len(one.token_ids) for one in samples),
        },
        seeds={"run": 1},
        weights={
            "digest": "c0ffee" * 10,
            "served_as": f"{arm.name}-{generation}",
            "canary_nats": 0.0004,
            "canary_mean_nats": 0.0001,
            "canary_staleness": 0.01,
            "canary_staleness_error": 0.02,
        },
        versions={"torch": "2.13.0", "vllm": "0.32.0"},
        level="exact",
    )
    write_manifest(folder, manifest)
    events("commit", 0.1, arm=arm.name, generation=generation, metrics={})


def invented(rng: np.random.Generator, arm: Arm, generation: int) -> str:
    narrow = max(2, round(len(NAMES) * (1 - 0.14 * generation * arm.recipe.mix.alpha)))
    name, place, trade = (str(rng.choice(words[:narrow])) for words in (NAMES, PLACES, TRADES))
    return f"{name} was born in {place} . {name} works as a {trade} and lives in {rng.choice(PLACES[:narrow])} ."


def sample(arm: Arm, generation: int, index: int, text: str, rng: np.random.Generator) -> Sample:
    count = max(1, len(text.split()))
    decay = 1 - 0.07 * generation * arm.recipe.mix.alpha
    surprisal = rng.gamma(0.5, 1.9 * decay, count).astype(np.float32)
    entropy = rng.gamma(2.0, 0.5 * decay, count).astype(np.float32)
    prompt = "" if arm.recipe.source.kind == "world" else "The harbour lay quiet that morning, and"
    return Sample(
        sample_id(1, arm.name, generation, index, [1], 7), prompt, text, [1], list(range(count)), "stop", 7, -surprisal,
        entropy, entropy * 0.8, np.exp(-entropy), np.ones(count, dtype=np.int64), accepted=index % 17 != 16,
        gate="" if index % 17 != 16 else "repeats its prompt",
        ppl_under_base=float(rng.lognormal(1.2 - 0.1 * generation * arm.recipe.mix.alpha, 0.4)),
    )  # fmt: skip


def proportion(metric: str, value: float, n: int) -> Metric:
    value = min(0.995, max(0.005, value))
    half = 1.96 * math.sqrt(value * (1 - value) / n)
    return Metric(metric, value, max(0.0, value - half), min(1.0, value + half), n)


def ratio(metric: str, value: float, share: float = 0.02) -> Metric:
    return Metric(metric, value, value * (1 - share), value * (1 + share), 200)


def world_metrics(arm: Arm, generation: int, rng: np.random.Generator) -> list[Metric]:
    dose = generation * arm.recipe.mix.alpha
    metrics = []
    for suffix, start, speed in [("", 0.80, 0.8), *((f".{name}", *facts) for name, facts in BUCKETS.items())]:
        for form, shift in [("", 0.0), *((f".{name}", shift) for name, shift in FORMATS.items())]:
            value = (
                start * math.exp(-0.21 * speed * dose)
                - 0.004 * generation
                + shift * (start - 0.3)
                + rng.normal(0, 0.006)
            )
            n = 400 if not form else 300
            metrics.append(proportion(f"knowledge/accuracy{suffix}{form}", value, n))
            metrics.append(proportion(f"knowledge/confidence{suffix}{form}", 0.83 - 0.02 * dose + shift / 2, n))
            metrics.append(
                proportion(f"knowledge/confidently_wrong{suffix}{form}", 0.06 + 0.085 * dose * speed - shift / 3, n)
            )
    for form in ("", *(f".{name}" for name in FORMATS)):
        metrics.append(proportion(f"format/compliance{form}", 0.985 - 0.012 * dose, 400))
    metrics += [
        ratio("fluency/ppl_form", 1.25 * (1 + 0.010 * dose), 0.015),
        ratio("fact/ppl", 1.6 * math.exp(0.29 * dose), 0.07),
    ]
    return metrics + text_metrics(arm, generation, rng)


def text_metrics(arm: Arm, generation: int, rng: np.random.Generator) -> list[Metric]:
    dose = generation * arm.recipe.mix.alpha
    return [
        ratio("fluency/ppl_human", 14.0 * (1 + 0.05 * dose + 0.01 * generation)),
        ratio("onpolicy/entropy", 1.9 * math.exp(-0.06 * dose), 0.03),
        ratio("onpolicy/varentropy", 2.4 * math.exp(-0.04 * dose), 0.04),
        ratio("drift/kl_to_base", 0.01 * generation + 0.2 * dose, 0.05),
        ratio("tail/ppl_under_base", 3.3 * math.exp(-0.1 * dose)), proportion("tail/coverage", 0.9 - 0.1 * dose, 300),
        Metric("text/distinct_2", 0.61 * math.exp(-0.11 * dose)),
        Metric("text/compression", 2.4 * math.exp(0.05 * dose)),
        proportion("text/duplicate", 0.01 + 0.03 * dose, 600),
        Metric("speed/sample_seconds", 9.0), Metric("speed/measure_seconds", 6.5), Metric("speed/swap_seconds", 0.4),
        Metric("speed/sample_tokens_per_second", 2600 + float(rng.normal(0, 60))),
        Metric("speed/sample_of_light", 0.5 + 0.01 * generation),
        *([Metric("speed/train_seconds", 21.0), Metric("speed/train_tokens_per_second", 3400.0)] if generation else []),
        *([Metric("speed/train_of_light", 0.25)] if generation else []),
    ]  # fmt: skip


def environment() -> dict[str, object]:
    return {
        "autophage": "0.1.0", "python": "3.11.9", "platform": "Linux-6.1-x86_64", "cpu_count": 2, "threads": 2,
        "device": "cpu", "memory_gib": 15.6, "packages": {"torch": "2.13.0", "vllm": "0.32.0"}, "git": None,
        "model": {"path": "from-source", "kind": "from-source", "parameters": 2_100_000, "digest": "ab" * 32},
    }  # fmt: skip
