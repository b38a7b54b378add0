"""Seconds of every stage: speed-of-light formulas of a machine, corrected by runs of a similar shape.

    decode step  device: max( (w P + B c k + K A) / bandwidth, 2 P B / F ) tax      host: h_step + layers h_layer + B h_token
    sampling     steps decode steps;  device: + 2 P prompt / F
    training     device: o P tokens / F_t         host: steps layers h_layer        o = 4 past frozen weights, 6 for all weights
    measuring    device: 2 P tokens / F_s         host: batches layers h_layer      + metrics; steps of gates as in training
    swap         canary steps + bytes / disk
    a stage      GPU: max(host, cells device)     CPU: host + device                cells that share the GPU compute in turn
    several arms serial: the sum; at once: max(sum S + least T, sum T + least S), the two-machine flow shop

    P  parameters               w    bytes per element             B  concurrent sequences    c  mean context
    k  bytes of KV cache/token  K A  bytes of adapters in a batch  F  operations per second

On a GPU the host bounds small models: the launches of a training step, and the Python of a decode step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autophage.plan.machines import Machine, SpeedRow
from autophage.plan.shape import Shape, base_shape
from autophage.plan.tokens import CANARY_TOKENS, Workload
from autophage.recipe.schema import Recipe

FORWARD, ADAPTER_TRAINING, FULL_TRAINING = 2, 4, 6
"""Operations per parameter and token of a forward pass, and of training.

Training an adapter adds the backward pass through frozen weights. Training all weights adds all gradients.
"""
STAGES = ("train", "swap", "sample", "measure", "commit")
SAMPLER_STAGES = frozenset({"sample"})
BOTH_SIDES = frozenset({"swap"})
NEARNESS = 0.1
"""Distance at which a measured row has a quarter of the weight of an identical one.

Distances are natural logarithms of ratios.
"""
CORPUS_BYTES_PER_TOKEN = 4 * 4 + 8 + 4
"""Bytes of a sampled token in a corpus before compression.

It has four float32 statistics, an int64 rank and an int32 token id.
"""


@dataclass(frozen=True)
class PlannedModel:
    """The model that a plan is made for.

    `rank` is the rank of its adapter. It has no effect if all weights are trained (`full`).
    """

    shape: Shape
    rank: int
    full: bool

    @property
    def trained(self) -> int:
        """Number of trained parameters. A swap moves them to the sampler."""
        return self.shape.parameters if self.full else self.shape.adapter_per_rank * self.rank


@dataclass(frozen=True)
class StageCost:
    """Seconds of a stage by what bounds them.

    `fixed` is neither: calls, metrics, the disk. `host` launches operations, which the device computes in `device`.
    """

    fixed: float
    host: float
    device: float

    def seconds(self, machine: Machine, sharing: int = 1) -> float:
        """Return the seconds of the stage, if `sharing` cells compute on the device at once.

        On a GPU host and device work at the same time, so the slower one counts. On a CPU they are the same cores.
        """
        device = sharing * self.device
        return self.fixed + (max(self.host, device) if machine.overlaps_host else self.host + device)


def stage_costs(machine: Machine, model: PlannedModel, work: Workload) -> dict[str, StageCost]:
    """Return the cost of each stage of one generation by the formulas alone, without measured corrections."""
    shape, width = model.shape, machine.width
    forward = FORWARD * shape.parameters / (machine.peak * machine.score_share)
    operations = FULL_TRAINING if model.full else ADAPTER_TRAINING
    backward = operations * shape.parameters / (machine.peak * machine.train_share)
    train_step, score_step = shape.layers * machine.train_layer, shape.layers * machine.score_layer
    moved = model.trained * 4
    canary = CANARY_TOKENS["float32" if width == 4 else "bfloat16"]
    train, measure = work.train, work.measure
    none = StageCost(0.0, 0.0, 0.0)
    return {
        "train": none
        if not train.steps
        else StageCost(
            machine.train_call,
            train.steps * train_step + train.batches * score_step,
            train.tokens * backward + train.scored * forward,
        ),
        "swap": StageCost(
            machine.swap_call + moved / machine.disk_bandwidth,
            canary * (shape.layers * machine.decode_layer + machine.decode_step),
            canary * width * shape.parameters / machine.bandwidth if machine.overlaps_host else 0.0,
        ),
        "sample": _sampling_cost(machine, model, work),
        "measure": StageCost(
            machine.measure_call + measure.resampled * machine.resample + measure.pairs * machine.pair,
            measure.batches * score_step + measure.steps * train_step,
            measure.tokens * forward + measure.trained * backward,
        ),
        "commit": StageCost(
            machine.commit_call + (moved + work.sample.tokens * CORPUS_BYTES_PER_TOKEN) / machine.disk_bandwidth,
            0.0,
            0.0,
        ),
    }


def _sampling_cost(machine: Machine, model: PlannedModel, work: Workload) -> StageCost:
    shape, width, sample = model.shape, machine.width, work.sample
    compute = machine.peak * machine.sample_share
    # The batch shrinks as documents end. Its mean is tokens over steps.
    batch = sample.beams * sample.tokens / max(1, sample.steps)
    context = (sample.prompt_tokens + sample.tokens / 2) / max(1, sample.documents)
    adapter = 0 if model.full else model.trained * width
    read = width * shape.parameters + batch * context * shape.kv_elements * width + adapter
    light = max(read / (machine.bandwidth * machine.bandwidth_share), FORWARD * shape.parameters * batch / compute)
    light *= 1.0 if model.full else machine.adapter_tax
    host = machine.decode_step + shape.layers * machine.decode_layer + batch * machine.decode_token
    prefill = FORWARD * shape.parameters * sample.prompt_tokens / compute
    return StageCost(machine.decode_call, sample.steps * host, sample.steps * light + prefill)


def formula_seconds(machine: Machine, model: PlannedModel, work: Workload, sharing: int = 1) -> dict[str, float]:
    """Return the seconds of each stage of one generation by the formulas alone, without measured corrections.

    Args:
        sharing: Number of cells that share the device.
    """
    return {stage: cost.seconds(machine, sharing) for stage, cost in stage_costs(machine, model, work).items()}


def busy_share(machine: Machine, model: PlannedModel, works: Sequence[Workload], *, overlap: bool) -> float:
    """Return the share of the time in which one cell keeps the device busy, from 0 to 1.

    Args:
        works: The generations of one arm.
        overlap: True if sampler and trainer work at once.
    """
    costs = [stage_costs(machine, model, work) for work in works]
    seconds = [{stage: cost.seconds(machine) for stage, cost in stages.items()} for stages in costs]
    device = sum(cost.device for stages in costs for cost in stages.values())
    two = makespan([seconds, seconds], overlap=overlap) / 2
    return min(1.0, device / two) if two else 1.0


def corrections(machine: Machine, rows: Sequence[SpeedRow], model: PlannedModel, work: Workload) -> dict[str, float]:
    """Return a factor per stage that fits the formulas to measured rows.

    A factor is the geometric mean of measured over computed seconds. Rows near `model` and `work` weigh most. The
    factor is 1 for a stage that no row has timed.
    """
    sums = {stage: [0.0, 0.0] for stage in STAGES}
    for row in rows:
        own = formula_seconds(machine, PlannedModel(row.shape, row.rank, row.full), row.work)
        weight = (NEARNESS / (NEARNESS + distance(row, model, work))) ** 2
        for stage in STAGES:
            if row.seconds.get(stage, 0.0) > 0 and own[stage] > 0:
                sums[stage][0] += weight * math.log(row.seconds[stage] / own[stage])
                sums[stage][1] += weight
    return {stage: math.exp(total / weight) if weight else 1.0 for stage, (total, weight) in sums.items()}


def distance(row: SpeedRow, model: PlannedModel, work: Workload) -> float:
    """Return the distance of a measured row from a planned model and its workload; 0 if both are equal.

    It is the sum of two log-ratios: all of that of the parameters, half of that of the sampled tokens. If only one of
    the two trains all weights, 1 is added.
    """
    apart = abs(math.log(row.shape.parameters / model.shape.parameters)) + (row.full != model.full)
    return apart + 0.5 * abs(math.log(max(1.0, row.work.sample.tokens) / max(1.0, work.sample.tokens)))


def stage_seconds(
    machine: Machine, rows: Sequence[SpeedRow], model: PlannedModel, work: Workload, sharing: int = 1
) -> dict[str, float]:
    """Return the seconds of each stage of one generation, by the formulas and the measured corrections.

    Args:
        sharing: Number of cells that share the device.
    """
    factors = corrections(machine, rows, model, work)
    return {stage: factors[stage] * one for stage, one in formula_seconds(machine, model, work, sharing).items()}


def start_seconds(machine: Machine, rows: Sequence[SpeedRow], parameters: int) -> tuple[float, dict[str, float]]:
    """Return the seconds before the first stage, and the extra seconds of each stage's first time.

    Loading the weights counts as start. If there are rows, their means replace the constants of the machine.

    Args:
        parameters: Number of parameters of the model; 0 if unknown.
    """
    start = _mean([row.start for row in rows]) if rows else machine.start
    first = {stage: _mean([row.first.get(stage, 0.0) for row in rows]) for stage in STAGES} if rows else machine.first
    # Sampler and trainer each read the weights.
    return start + 2 * parameters * machine.width / machine.disk_bandwidth, dict(first)


def base_seconds(machine: Machine, rows: Sequence[SpeedRow], recipe: Recipe) -> float:
    """Return the seconds of training the recipe's `[base]` model.

    If base models were measured, the one nearest in size corrects the formula.
    """
    base = recipe.base
    steps = max(1, base.tokens // (base.batch_size * base.length))
    factors = [
        row.base.seconds / _base_formula(machine, row.shape, row.base.tokens, row.base.steps)
        for row in sorted(rows, key=lambda row: abs(math.log(row.shape.parameters / base_shape(recipe).parameters)))
        if row.base.seconds > 0
    ]
    return (factors[0] if factors else 1.0) * _base_formula(machine, base_shape(recipe), base.tokens, steps)


def _base_formula(machine: Machine, shape: Shape, tokens: int, steps: int) -> float:
    arithmetic = FULL_TRAINING * shape.parameters * tokens / (machine.peak * machine.score_share)
    return arithmetic + steps * shape.layers * machine.base_layer


def makespan(arms: Sequence[Sequence[Mapping[str, float]]], *, overlap: bool) -> float:
    """Return the seconds that one sampler and one trainer take for all arms.

    Without `overlap`, all stages are added. With `overlap`, the result is the two-machine flow-shop bound. It is each
    side's total plus the other's shortest lead-in or tail. No arm is faster than the sum of its own stages.

    Args:
        arms: `arms[a][g]` maps each stage of generation g of arm a to its seconds.
        overlap: True if sampler and trainer work at once.
    """
    whole = [sum(sum(stages.values()) for stages in generations) for generations in arms]
    if not overlap:
        return sum(whole)
    sides = [_sides(stages) for generations in arms for stages in generations]
    if not sides:
        return 0.0
    both = sum(stages.get(stage, 0.0) for generations in arms for stages in generations for stage in BOTH_SIDES)
    sampling, training = sum(one for one, _ in sides), sum(two for _, two in sides)
    filled = max(sampling + min(two for _, two in sides), training + min(one for one, _ in sides))
    return max(both + filled, *whole)


def _sides(stages: Mapping[str, float]) -> tuple[float, float]:
    """Return the seconds of the sampler and of the trainer in one generation.

    A swap needs both and counts for neither.
    """
    sampling = sum(seconds for stage, seconds in stages.items() if stage in SAMPLER_STAGES)
    training = sum(seconds for stage, seconds in stages.items() if stage not in SAMPLER_STAGES | BOTH_SIDES)
    return sampling, training


def cells_seconds(arms: Sequence[Sequence[Mapping[str, float]]], cells: int, *, overlap: bool) -> float:
    """Return the seconds that `cells` pairs of sampler and trainer take for all arms.

    The longest arm goes first, and each to the least loaded pair. Without arms the result is 0. `arms` and `overlap`
    are as in `makespan`.
    """
    dealt: list[list[Sequence[Mapping[str, float]]]] = [[] for _ in range(max(1, min(cells, len(arms))))]
    for generations in sorted(arms, key=lambda one: -makespan([one], overlap=False)):
        min(dealt, key=lambda cell: makespan(cell, overlap=overlap) if cell else 0.0).append(generations)
    return max((makespan(cell, overlap=overlap) for cell in dealt), default=0.0)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
