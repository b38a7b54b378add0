"""What a run will take, before it runs: tokens, time, memory, disk and cost of a recipe.

Arithmetic over a recipe and named constants; nothing is loaded, downloaded or measured, so every number is an estimate
and says what it assumes. The speeds are those of two CPU cores; on another machine give the speeds measured there
(`speed/*` in any report). What cannot be known without reading data or weights is None, not a guess.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autophage.recipe.arms import Arm
from autophage.recipe.schema import FROM_SOURCE, Recipe

REFERENCE_PARAMETERS = 2_000_000
"""Size of the model at which the speeds below were measured."""
SAMPLE_TOKENS_PER_SECOND = 4500.0
TRAIN_TOKENS_PER_SECOND = 6000.0
MEASURE_TOKENS_PER_SECOND = 2 * TRAIN_TOKENS_PER_SECOND
"""Scoring is the forward half of a training step with frozen weights."""
BASE_TOKENS_PER_SECOND = 8500.0
CPU_FLOPS = 5e10
"""What two cores sustain in float32; every parameter above the reference costs its operations at this speed."""
SAMPLE_OPERATIONS, TRAIN_OPERATIONS, MEASURE_OPERATIONS, BASE_OPERATIONS = 2, 4, 2, 6
"""Per parameter and token: forward; forward and backward past frozen weights; forward; forward and full backward."""
START_UP_SECONDS = 35.0
"""Imports, sampler and trainer, once a run."""

WORLD_DOCUMENT_WORDS = 41
"""Mean length of a document of the built-in world, with its end token."""
PROBE_WORDS = {"question-answer": 10, "cloze": 8, "few-shot": 44}
FACTS_PER_PERSON = 4
WATCH_PASSES, DRIFT_PASSES = 1, 3
"""Times that samples are scored: by the model that wrote them; with `measure.drift` by it, model 0 and the previous one."""
PIECES_PER_WORD = 2.0
"""Tokens of a world's word under a tokenizer that was not made for that world."""
BYTES_PER_TOKEN = 4.0
"""Of plain text, to count held-out tokens from a file's size."""

CORPUS_BYTES_PER_TOKEN = 4 * 4 + 8 + 4
"""Four float32 statistics, an int64 rank and an int32 token id."""
COMPRESSION = 0.5
"""What zstd leaves of a corpus shard."""
LIBRARIES_BYTES = 2.4 * 2**30
"""Code and buffers of torch, vLLM and transformers in the sampler's and the trainer's processes."""
DEFAULT_KV_CACHE_BYTES = 0.5 * 2**30
OPTIMIZER_COPIES = 4
"""Of the trained weights: themselves, their gradient, AdamW's two moments."""
ACTIVATIONS_PER_LAYER = 16
"""Hidden-sized float32 tensors a layer keeps for backward."""
LOGIT_COPIES = 3

SIZE_IN_NAME = re.compile(r"(?<![A-Za-z0-9.])(\d+(?:\.\d+)?)([BM])(?![A-Za-z0-9])", re.IGNORECASE)


@dataclass(frozen=True)
class Speeds:
    """Tokens per second at the size of the model in the recipe; None: the two-core defaults, scaled by parameters."""

    sample: float | None = None
    train: float | None = None


@dataclass(frozen=True)
class Shape:
    """Of a model: sizes that decide memory. `origin` says how they are known."""

    parameters: int
    hidden: int
    layers: int
    vocabulary: int
    adapter_per_rank: int
    origin: str


@dataclass(frozen=True)
class ArmPlan:
    """Tokens of one arm over all generations. `measured` is None where held-out data must be read to count it."""

    name: str
    control: bool
    settings: dict[str, object]
    sampled: int
    trained: int
    measured: int | None
    disk_bytes: float | None
    seconds: float | None


@dataclass(frozen=True)
class Plan:
    """Estimates for a run. Bytes and seconds; `cost` is in the currency of the price that was given."""

    arms: list[ArmPlan]
    parameters: int | None
    parameters_from: str
    base_seconds: float
    seconds: float | None
    memory_bytes: float | None
    disk_bytes: float | None
    cost: float | None
    assumptions: list[str]


def plan(
    recipe: Recipe, arms: Sequence[Arm], speeds: Speeds | None = None, price_per_hour: float | None = None
) -> Plan:
    """The estimates of `recipe`, whose `arms` are its expansion."""
    speeds = Speeds() if speeds is None else speeds
    shapes = [shape_of(arm.recipe) for arm in arms]
    rows = [_arm_plan(arm, shape, speeds) for arm, shape in zip(arms, shapes, strict=True)]
    base_seconds = _base_seconds(arms)
    works = [row.seconds for row in rows if row.seconds is not None]
    seconds = START_UP_SECONDS + base_seconds + sum(works) if len(works) == len(rows) else None
    known = [shape for shape in shapes if shape is not None]
    disks = [row.disk_bytes for row in rows if row.disk_bytes is not None]
    return Plan(
        arms=rows,
        parameters=known[0].parameters if known else None,
        parameters_from=known[0].origin if known else "unknown: the model is not here and its name has no size",
        base_seconds=base_seconds,
        seconds=seconds,
        memory_bytes=_memory(arms, known) if len(known) == len(arms) else None,
        disk_bytes=sum(disks) if len(disks) == len(rows) else None,
        cost=None if price_per_hour is None or seconds is None else price_per_hour * seconds / 3600,
        assumptions=_assumptions(recipe, rows, speeds),
    )


def shape_of(recipe: Recipe) -> Shape | None:
    """The model's shape: of `[base]`, of a folder's config.json, or guessed from a size in its name; else None."""
    if recipe.model.path == FROM_SOURCE:
        return _base_shape(recipe)
    config = Path(recipe.model.path) / "config.json"
    if config.is_file():
        return _configured_shape(json.loads(config.read_text("utf-8")))
    found = SIZE_IN_NAME.findall(recipe.model.path.rsplit("/", 1)[-1])
    return _guessed_shape(float(found[-1][0]) * (1e9 if found[-1][1] in "bB" else 1e6)) if found else None


def _base_shape(recipe: Recipe) -> Shape:
    base = recipe.base
    world_words = round(5.3 * recipe.source.people**0.5) + 175  # names grow with the root of the people
    vocabulary = world_words if recipe.source.kind == "world" else base.vocabulary
    return _llama(
        base.hidden_size, 3 * base.hidden_size, base.layers, vocabulary, base.hidden_size, 1, "computed from [base]"
    )


def _configured_shape(config: dict[str, Any]) -> Shape | None:
    try:
        hidden, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
        head = int(config.get("head_dim") or hidden // heads)
        keys = int(config.get("num_key_value_heads") or heads) * head
        copies = 1 if config.get("tie_word_embeddings") else 2
        layers, vocabulary = int(config["num_hidden_layers"]), int(config["vocab_size"])
        return _llama(hidden, int(config["intermediate_size"]), layers, vocabulary, keys, copies, "config.json")
    except (KeyError, TypeError, ValueError):
        return None  # an architecture with other names for its sizes


def _llama(hidden: int, inner: int, layers: int, vocabulary: int, keys: int, copies: int, origin: str) -> Shape:
    layer = 2 * hidden * hidden + 2 * hidden * keys + 3 * hidden * inner + 2 * hidden
    adapter = 2 * (hidden + hidden) + 2 * (hidden + keys) + 3 * (hidden + inner)
    parameters = copies * vocabulary * hidden + layers * layer + hidden
    return Shape(parameters, hidden, layers, vocabulary, layers * adapter, origin)


def _guessed_shape(parameters: float) -> Shape:
    """A Llama of the usual proportions: 13 hidden^2 weights a layer, hidden / 64 layers."""
    hidden = round((64 * parameters / 13) ** (1 / 3))
    layers = max(1, hidden // 64)
    return Shape(round(parameters), hidden, layers, 128_000, layers * 20 * hidden, "guessed from the model's name")


def _arm_plan(arm: Arm, shape: Shape | None, speeds: Speeds) -> ArmPlan:
    recipe = arm.recipe
    generations = recipe.generations
    sampled = round((generations + 1) * recipe.sample.count * _sample_tokens(recipe))
    trained = round(
        sum(_rows(recipe, g) for g in range(1, generations + 1)) * recipe.train.epochs * _row_tokens(recipe)
    )
    each = _measured_tokens(recipe)
    passes = WATCH_PASSES + DRIFT_PASSES * recipe.measure.drift
    measured = None if each is None else (generations + 1) * each + passes * sampled
    disk = seconds = None
    if shape is not None:
        disk = sampled * CORPUS_BYTES_PER_TOKEN * COMPRESSION + _stored_weights(recipe, shape)
        sample, train, measure = _speeds(shape.parameters, speeds)
        seconds = sampled / sample + trained / train + (measured or 0) / measure
    return ArmPlan(arm.name, arm.control, arm.settings, sampled, trained, measured, disk, seconds)


def _speeds(parameters: int, given: Speeds) -> tuple[float, float, float]:
    """Tokens per second of sampling, training and scoring."""
    sample = given.sample or _slowed(SAMPLE_TOKENS_PER_SECOND, SAMPLE_OPERATIONS, parameters)
    if given.train:
        return sample, given.train, given.train * MEASURE_TOKENS_PER_SECOND / TRAIN_TOKENS_PER_SECOND
    train = _slowed(TRAIN_TOKENS_PER_SECOND, TRAIN_OPERATIONS, parameters)
    return sample, train, _slowed(MEASURE_TOKENS_PER_SECOND, MEASURE_OPERATIONS, parameters)


def _slowed(reference: float, operations: int, parameters: int) -> float:
    """A speed measured at the reference size, for a larger model: small ones are bound by overhead, not arithmetic."""
    return 1 / (1 / reference + operations * max(0, parameters - REFERENCE_PARAMETERS) / CPU_FLOPS)


def _pieces(recipe: Recipe) -> float:
    return 1.0 if recipe.model.path == FROM_SOURCE else PIECES_PER_WORD


def _sample_tokens(recipe: Recipe) -> float:
    """Tokens of a sample: a world's document where that is shorter than the limit, else the limit."""
    if recipe.source.kind == "world":
        return min(recipe.max_tokens, WORLD_DOCUMENT_WORDS * _pieces(recipe))
    return recipe.max_tokens


def _row_tokens(recipe: Recipe) -> float:
    """Tokens of a training row, mixed at alpha."""
    world = recipe.source.kind == "world"
    human = WORLD_DOCUMENT_WORDS * _pieces(recipe) if world else recipe.source.continuation
    context = 0 if world or recipe.train.loss_on == "continuation" else recipe.source.block
    return context + recipe.mix.alpha * _sample_tokens(recipe) + (1 - recipe.mix.alpha) * human


def _rows(recipe: Recipe, generation: int) -> int:
    """Rows that model `generation` is trained on; an accumulated pool has the data of before the loop in it."""
    return recipe.sample.count * (generation + 1 if recipe.mix.pool == "accumulate" else 1)


def _measured_tokens(recipe: Recipe) -> int | None:
    """Human tokens and questions scored per generation; samples come on top."""
    source = recipe.source
    if source.kind == "world":
        people = min(recipe.measure.probes or source.people, source.people)
        words = FACTS_PER_PERSON * people * sum(PROBE_WORDS[form] for form in recipe.measure.formats)
        return round((words + source.held_out_documents * WORLD_DOCUMENT_WORDS) * _pieces(recipe))
    if source.kind == "text" and source.path is not None and (path := Path(source.path)).exists():
        files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        return round(sum(file.stat().st_size for file in files) * source.held_out / BYTES_PER_TOKEN)
    return None


def _base_seconds(arms: Sequence[Arm]) -> float:
    """Training of the base models that the arms need, each once."""
    needed = {(arm.recipe.base, arm.recipe.source): arm.recipe for arm in arms if arm.recipe.model.path == FROM_SOURCE}
    seconds = 0.0
    for recipe in needed.values():
        parameters = _base_shape(recipe).parameters
        seconds += recipe.base.tokens / _slowed(BASE_TOKENS_PER_SECOND, BASE_OPERATIONS, parameters)
    return seconds


def _memory(arms: Sequence[Arm], shapes: Sequence[Shape]) -> float:
    """Sampler and trainer at once: weights twice, the largest arm's optimizer state and activations, all adapters."""
    largest = 0.0
    adapters = 0.0
    for arm, shape in zip(arms, shapes, strict=True):
        recipe = arm.recipe
        width = 2 if recipe.model.dtype == "bfloat16" else 4
        trained = _trained_bytes(recipe, shape)
        tokens = recipe.train.batch_size * _row_tokens(recipe)
        kept = 4 * (shape.layers * shape.hidden * ACTIVATIONS_PER_LAYER + shape.vocabulary * LOGIT_COPIES)
        cache = DEFAULT_KV_CACHE_BYTES if recipe.sample.memory is None else recipe.sample.memory * 2**30
        adapters += trained
        largest = max(largest, 2 * width * shape.parameters + OPTIMIZER_COPIES * trained + tokens * kept + cache)
    return LIBRARIES_BYTES + largest + adapters


def _trained_bytes(recipe: Recipe, shape: Shape) -> int:
    """Of the weights that are trained, in float32."""
    return 4 * (shape.parameters if recipe.model.method == "full" else shape.adapter_per_rank * recipe.model.rank)


def _stored_weights(recipe: Recipe, shape: Shape) -> int:
    """Bytes on disk of an arm's models, and of AdamW's two moments where they are carried on."""
    models = recipe.generations + (recipe.model.method == "lora")  # all weights of model 0 are the base model's
    moments = 2 * recipe.generations * (recipe.train.optimizer == "carried")
    return (models + moments) * _trained_bytes(recipe, shape)


def _assumptions(recipe: Recipe, rows: Sequence[ArmPlan], speeds: Speeds) -> list[str]:
    guess = f"two CPU cores, {CPU_FLOPS:.0e} operations/s beyond {REFERENCE_PARAMETERS / 1e6:.0f}M parameters"
    sample = (
        f"{speeds.sample:g} tokens/s (given)" if speeds.sample else f"{SAMPLE_TOKENS_PER_SECOND:g} tokens/s ({guess})"
    )
    train = f"{speeds.train:g} tokens/s (given)" if speeds.train else f"{TRAIN_TOKENS_PER_SECOND:g} tokens/s ({guess})"
    lines = [
        f"sampling at {sample}",
        f"training at {train}, scoring twice as fast",
        f"start-up of {START_UP_SECONDS:g} s; arms one after the other, whatever `devices` overlaps",
        f"corpora at {CORPUS_BYTES_PER_TOKEN} bytes a token, of which compression leaves {COMPRESSION:.0%}",
        "memory in float32 on a CPU, sampler and trainer together",
    ]
    if recipe.model.path == FROM_SOURCE:
        lines.append(f"base model trained at {BASE_TOKENS_PER_SECOND:g} tokens/s, unless it is in the cache already")
    if recipe.source.kind == "world":
        lines.append(f"documents of {WORLD_DOCUMENT_WORDS} words on average")
    else:
        lines.append("every sample as long as max_tokens allows")
    if any(row.measured is None for row in rows):
        lines.append("measuring not counted: its size is known once the source has been read")
    return lines
