"""Retention, cost and verdict of each remedy.

The module applies to runs that sweep `remedy`, with the naked loop ("none") among its values. Every number is from the
last generation that all arms have, as a mean over seeds. Differences are paired by seed. `metrics.retention` holds the
rule of the verdicts, `view` the words of the page.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from autophage.display import json_ready
from autophage.metrics.intervals import Estimate
from autophage.metrics.retention import HARMS, HOLDS, NONE, PART, RULE, UNJUDGED, front, paired, verdict
from autophage.recipe import expand
from autophage.recipe.arms import Arm, arm_name
from autophage.recipe.settings import NO_REMEDY
from autophage.report.facts.catalog import describe
from autophage.report.facts.costs import Cost, Costs, arm_costs, cost_values, mean_cost
from autophage.report.facts.load import RunFacts
from autophage.report.facts.pooling import SEED, pools

REMEDY = "remedy"
HELD = ("knowledge/accuracy.torso", "knowledge/accuracy.tail")
"""Metrics that decide the verdict on a remedy. The loop without remedy loses these buckets."""
FLUENCY = ("fluency/ppl_form", "fluency/ppl_human")
"""Fluency metrics. The first that was measured is shown: form for a world, all text for a text."""
DRIFT = "drift/kl_to_base"
COLUMNS = ("onpolicy/entropy", "tail/coverage", DRIFT)
ORDER = (HOLDS, PART, NONE, UNJUDGED, HARMS, "")

BySeed = dict[int, float]


@dataclass(frozen=True)
class Beside:
    """Mean of a metric over a remedy's seeds, with its differences from two other arms.

    `naked` is the difference from the loop without remedy. `control` is that from the remedy's own control on human
    text. Differences of shares are plain. Differences of other metrics are of logarithms if all values are positive
    (`ratio`). An estimate is None without a common seed.
    """

    value: float
    naked: Estimate | None
    control: Estimate | None
    ratio: bool


@dataclass(frozen=True)
class Outcome:
    """Metrics, cost and verdict of one remedy over its seeds.

    The naked loop, which has no remedy, is an outcome without a verdict. `arm` and `control` are the names of the
    pooled arms in the report. `gains` are accuracies minus those of the naked loop. `left` are those of the remedy's
    own control minus its own. Both hold one estimate for each metric of `HELD`, then their mean. Both are empty if
    these metrics were not measured. `retained` maps a seed to the mean accuracy.
    """

    name: str
    arm: str
    arms: tuple[str, ...]
    metrics: dict[str, Beside]
    verdict: str
    gains: tuple[Estimate, ...]
    left: tuple[Estimate, ...]
    retained: BySeed
    cost: Cost | None
    control: str | None

    @property
    def retention(self) -> float:
        """Mean accuracy over the metrics of `HELD` and seeds; NaN if it was not measured."""
        return _mean(self.retained) if self.retained else math.nan


@dataclass(frozen=True)
class RemedyComparison:
    """All remedies of a run at one generation.

    `naked` is the loop without remedy. `controls` maps each control to its mean metrics.
    """

    generation: int
    seeds: int
    outcomes: list[Outcome]
    naked: Outcome
    controls: dict[str, dict[str, float]]

    @property
    def lost(self) -> tuple[Estimate, ...]:
        """Accuracy that the naked loop lacks beside its control, by bucket and as a mean.

        Without a control it is empty.
        """
        return self.naked.left

    @property
    def best(self) -> list[str]:
        """Names of the remedies on the Pareto front of accuracy against tokens, by rising cost."""
        points = [one for one in (self.naked, *self.outcomes) if one.retained and one.cost is not None]
        costs = [one.cost.tokens for one in points if one.cost is not None]
        return [points[place].name for place in front(costs, [one.retention for one in points])]


def gathered(facts: RunFacts, costs: Costs) -> RemedyComparison | None:
    """Compare the remedies of a run at the last measured generation that all its arms have.

    The arms of `facts` must not be pooled over seeds. The result is None if the run compares no remedies or has no such
    generation after 0.
    """
    chosen = facts.recipe.sweep.get(REMEDY, [])
    reached = {arm.name: arm.last for arm in facts.arms if arm.recipe is not None}
    everywhere = range(1, min(reached.values(), default=0) + 1)
    generation = max((g for g in everywhere if facts.recipe.measures_model(g)), default=0)
    if NO_REMEDY not in chosen or len(chosen) < 2 or generation < 1:
        return None
    arms = [arm for arm in expand(facts.recipe) if arm.name in reached]
    groups: dict[str, dict[int, Arm]] = {}
    naked_of: dict[str, str] = {}
    for arm in arms:
        if not arm.added:
            name = _name(facts, arm, str(arm.settings[REMEDY]))
            groups.setdefault(name, {})[arm.recipe.seed] = arm
            naked_of[name] = _name(facts, arm, NO_REMEDY)
    made = _Maker(facts, generation, arm_costs(costs, generation))
    naked = {name: made.outcome(name, groups[name], groups[name]) for name in dict.fromkeys(naked_of.values())}
    first, *others = naked.values()
    outcomes = [
        made.outcome(name, group, groups[naked_of[name]]) for name, group in groups.items() if name not in naked
    ]
    outcomes = sorted([*outcomes, *others], key=lambda one: (ORDER.index(one.verdict), -_last(one.gains)))
    seeds = len({arm.recipe.seed for arm in arms})
    return RemedyComparison(generation, seeds, outcomes, first, made.controls(arms))


class _Maker:
    """Makes the outcomes of the remedies of one run at one generation."""

    def __init__(self, facts: RunFacts, generation: int, costs: Mapping[str, Cost]) -> None:
        self._facts, self._generation, self._costs = facts, generation, costs
        self._group_of = {member: name for name, group in pools(facts).items() for member in group}
        fluency = next((name for name in FLUENCY if facts.metrics.has(name)), FLUENCY[0])
        wanted = ("knowledge/accuracy.head", *HELD, fluency, *COLUMNS)
        self._names = [name for name in wanted if facts.metrics.has(name)]

    def outcome(self, name: str, group: dict[int, Arm], naked: dict[int, Arm]) -> Outcome:
        arms, controls = {seed: arm.name for seed, arm in group.items()}, _controls(group)
        without, beside = {seed: arm.name for seed, arm in naked.items()}, _controls(naked)
        gains, left, lost = self._held(arms, without), self._held(controls, arms), self._held(beside, without)
        found = "" if group is naked else verdict(gains, lost) if gains else UNJUDGED
        cost = mean_cost(self._costs[arm] for arm in arms.values() if arm in self._costs)
        metrics = {metric: one for metric in self._names if (one := self._beside(metric, arms, without, controls))}
        members = tuple(arms.values())
        group_name = self._group_of.get(members[0], members[0])
        control = next((self._group_of.get(name, name) for name in controls.values()), None)
        retained = self._retained(arms)
        return Outcome(name, group_name, members, metrics, found, gains, left, retained, cost, control)

    def controls(self, arms: Sequence[Arm]) -> dict[str, dict[str, float]]:
        """Return the mean of each metric over seeds, for each control by its name."""
        groups: dict[str, list[str]] = {}
        for arm in arms:
            if arm.added:
                groups.setdefault(self._group_of.get(arm.name, arm.name), []).append(arm.name)
        found = {}
        for name, group in groups.items():
            values = {metric: self._values(metric, dict(enumerate(group))) for metric in self._names}
            found[name] = {metric: _mean(by_seed) for metric, by_seed in values.items() if by_seed}
        return found

    def _values(self, metric: str, arms: Mapping[int, str]) -> BySeed:
        points = {seed: self._facts.metrics.at(arm, metric, self._generation) for seed, arm in arms.items()}
        return {seed: point.value for seed, point in points.items() if point is not None}

    def _held(self, ours: Mapping[int, str], theirs: Mapping[int, str]) -> tuple[Estimate, ...]:
        """Return ours minus theirs for each metric of `HELD` and for their mean, paired by seed.

        The arguments map a seed to an arm. If a metric was not measured, the result is empty.
        """
        pairs = [paired(self._values(metric, ours), self._values(metric, theirs)) for metric in HELD]
        pairs.append(paired(self._retained(ours), self._retained(theirs)))
        found = tuple(one for one in pairs if one is not None)
        return found if len(found) == len(pairs) else ()

    def _retained(self, arms: Mapping[int, str]) -> BySeed:
        """Return the mean accuracy over the metrics of `HELD` for each seed that has them all."""
        buckets = [self._values(metric, arms) for metric in HELD]
        common = set.intersection(*map(set, buckets))
        return {seed: sum(bucket[seed] for bucket in buckets) / len(buckets) for seed in sorted(common)}

    def _beside(
        self, metric: str, arms: Mapping[int, str], naked: Mapping[int, str], controls: Mapping[int, str]
    ) -> Beside | None:
        ours, theirs, human = (self._values(metric, group) for group in (arms, naked, controls))
        if not ours:
            return None
        ratio = describe(metric).kind != "share" and min([*ours.values(), *theirs.values(), *human.values()]) > 0
        logs = [{seed: math.log(v) if ratio else v for seed, v in group.items()} for group in (ours, theirs, human)]
        return Beside(_mean(ours), paired(logs[0], logs[1]), paired(logs[0], logs[2]), ratio)


def _name(facts: RunFacts, arm: Arm, remedy: str) -> str:
    """Return the name of a remedy, such as `half`.

    If a run sweeps more than remedies and seeds, the name says so: `half, count-200`.
    """
    others = {
        key: value
        for key, value in arm.settings.items()
        if key not in (REMEDY, SEED) and len(facts.recipe.sweep[key]) > 1
    }
    return f"{remedy}, {arm_name(others)}" if others else remedy


def _controls(group: Mapping[int, Arm]) -> dict[int, str]:
    """Map each seed to the name of its arm's control. Arms without a control are left out."""
    return {seed: arm.control_name for seed, arm in group.items() if arm.control_name is not None}


def _mean(values: BySeed) -> float:
    return sum(values.values()) / len(values)


def _last(gains: Sequence[Estimate]) -> float:
    return gains[-1].value if gains else 0.0


def remedy_facts(found: RemedyComparison | None) -> dict[str, Any] | None:
    """Return the comparison of remedies as plain values, or None without one. Intervals that do not exist are null."""
    if found is None:
        return None
    outcomes = [_values(one) for one in found.outcomes]
    told = {"outcomes": outcomes, "naked": _values(found.naked), "pareto_front": found.best, "rule": RULE}
    plain: dict[str, Any] = json_ready({**asdict(found), **told})
    return plain


def _values(one: Outcome) -> dict[str, Any]:
    return {**asdict(one), "cost": None if one.cost is None else cost_values(one.cost)}
