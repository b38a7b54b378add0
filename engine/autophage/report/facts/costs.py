"""Cost of each arm: tokens sampled, trained on and scored, and seconds per stage.

All numbers come from committed files. Manifests count sampled tokens, `training.parquet` counts tokens that carried
loss. Metrics hold the seconds and the tokens that gates scored or trained on. An anchor's reference reads all trained
tokens. Edited human text passes once through the model that edits it. Arms that are sampled in one batch each record
the seconds of the whole batch. Here a batch is divided in proportion to tokens, so arms add up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pyarrow.compute as pc

from autophage.display import duration
from autophage.recipe import expand
from autophage.recipe.batching import cohorts_of, is_continuous
from autophage.recipe.schedule import pool_alpha
from autophage.recipe.schema import Recipe
from autophage.report.facts.load import ArmFacts, RunFacts
from autophage.report.facts.table import DASH, TableCell, TableRow
from autophage.store.manifest import Manifest
from autophage.store.rundir import RunDirectory
from autophage.store.training import TRAINING, read_training

STAGES = ("train", "swap", "sample", "measure")
SCORED = ("gate/scored_tokens", "speed/judge_tokens")
"""Metrics that count the tokens read to judge samples.

The first is for the writer or model 0, the second for models that the recipe names.
"""
TRIED = "gate/trained_tokens"
"""Metric that counts tokens that gates trained on in trial steps."""


@dataclass(frozen=True)
class Cost:
    """Tokens and seconds of a generation, an arm or several arms.

    `sampled` counts the tokens that models wrote. `trained` counts those with loss, or in trial steps of gates.
    `scored` counts those read for gates or for a reference. `seconds` maps a stage to its duration.
    """

    sampled: int = 0
    trained: int = 0
    scored: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        return self.sampled + self.trained + self.scored

    @property
    def time(self) -> float:
        return sum(self.seconds.values())

    def __add__(self, other: Cost) -> Cost:
        stages = dict.fromkeys([*self.seconds, *other.seconds])
        seconds = {stage: self.seconds.get(stage, 0.0) + other.seconds.get(stage, 0.0) for stage in stages}
        return Cost(self.sampled + other.sampled, self.trained + other.trained, self.scored + other.scored, seconds)


Costs = dict[tuple[str, int], Cost]
"""(arm, generation) -> tokens and seconds of that generation."""


def costs_of(run: RunDirectory, facts: RunFacts) -> Costs:
    """Return the tokens and seconds of every committed generation, by (arm, generation).

    The arms of `facts` must not be pooled over seeds.
    """
    made = {
        (arm.name, manifest.generation): _of_generation(run, facts, arm, manifest)
        for arm in facts.arms
        for manifest in arm.manifests
    }
    for cohort in _batches(facts):
        for generation in range(facts.horizon + 1):
            _divide(made, [(name, generation) for name in cohort if (name, generation) in made])
    return made


def arm_costs(costs: Costs, last: int | None = None) -> dict[str, Cost]:
    """Return the summed tokens and seconds of each arm, by name.

    Given `last`, later generations do not count.
    """
    total: dict[str, Cost] = {}
    for (name, generation), cost in costs.items():
        if last is None or generation <= last:
            total[name] = total.get(name, Cost()) + cost
    return total


def mean_cost(costs: Iterable[Cost]) -> Cost | None:
    """Return the mean tokens and seconds of several arms, such as the seeds of one.

    For no arms the result is None.
    """
    found = list(costs)
    if not found:
        return None
    whole = sum(found, Cost())
    n = len(found)
    return Cost(
        round(whole.sampled / n),
        round(whole.trained / n),
        round(whole.scored / n),
        {stage: seconds / n for stage, seconds in whole.seconds.items()},
    )


def cost_rows(shown: RunFacts, costs: Costs, groups: Mapping[str, Sequence[str]]) -> list[TableRow]:
    """Return a table row of tokens and seconds for each arm of `shown` that has committed tokens.

    Arms of `shown` are pooled over seeds. `groups` maps a pooled arm to its members, whose mean is shown. `costs`
    belong to the members.
    """
    by_arm = arm_costs(costs)
    rows = []
    for arm in shown.arms:
        cost = mean_cost(by_arm[name] for name in groups.get(arm.name, [arm.name]) if name in by_arm)
        if cost is not None and cost.tokens:
            texts = [_count(tokens) for tokens in (cost.sampled, cost.trained, cost.scored)]
            texts += [duration(cost.seconds[stage]) if stage in cost.seconds else DASH for stage in STAGES]
            texts.append(duration(cost.time) if cost.seconds else DASH)
            rows.append(TableRow(arm.name, [TableCell(text) for text in texts], arm.name))
    return rows


def _count(tokens: int) -> str:
    return f"{tokens:,}" if tokens else DASH


def cost_facts(costs: Costs) -> dict[str, dict[str, Any]]:
    """Return the summed tokens and seconds of every arm as plain values, by arm."""
    return {name: cost_values(cost) for name, cost in arm_costs(costs).items()}


def cost_values(cost: Cost) -> dict[str, Any]:
    """Return the fields of a cost as plain values, with its sums `tokens` and `time` (seconds)."""
    return {**asdict(cost), "tokens": cost.tokens, "time": cost.time}


def _of_generation(run: RunDirectory, facts: RunFacts, arm: ArmFacts, manifest: Manifest) -> Cost:
    trained = 0
    if TRAINING in manifest.files:
        trained = pc.sum(read_training(run, manifest, ["tokens"])["tokens"]).as_py() or 0
    judged = [facts.metrics.at(arm.name, name, manifest.generation) for name in (*SCORED, TRIED)]
    *scores, tried = (0 if point is None else round(point.value) for point in judged)
    scored = sum(scores)
    if arm.recipe is not None and manifest.generation > 0:
        scored += _read_beside(arm.recipe, manifest.generation, trained)
    points = {stage: facts.metrics.at(arm.name, f"speed/{stage}_seconds", manifest.generation) for stage in STAGES}
    seconds = {stage: point.value for stage, point in points.items() if point is not None}
    return Cost(manifest.counts.get("tokens", 0), trained + tried, scored, seconds)


def _read_beside(recipe: Recipe, generation: int, trained: int) -> int:
    """Count the tokens that are read, but not trained on, for the training of model `generation`.

    `trained` counts those that it is trained on. An anchor's reference reads all of them. Edited human tokens are read
    once, whatever the number of epochs.
    """
    referred = trained if recipe.refers else 0
    edits = recipe.mix.human_edit is not None
    return referred + (round(trained / recipe.train.epochs * (1.0 - pool_alpha(recipe, generation))) if edits else 0)


def _batches(facts: RunFacts) -> list[tuple[str, ...]]:
    """Return the names of arms that were sampled in one batch, a tuple for each batch.

    There are none with continuous batching, or if the learner is not a language model.
    """
    device = str(facts.environment.get("device", "cpu"))
    if not facts.recipe.trains_language_model or is_continuous(facts.recipe, device):
        return []
    return [cohort for cohort in cohorts_of(expand(facts.recipe)) if len(cohort) > 1]


def _divide(made: Costs, together: list[tuple[str, int]]) -> None:
    tokens = sum(made[key].sampled for key in together)
    for key in together:
        cost = made[key]
        if tokens and "sample" in cost.seconds:
            share = cost.seconds["sample"] * cost.sampled / tokens
            made[key] = replace(cost, seconds={**cost.seconds, "sample": share})
