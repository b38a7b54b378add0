"""Knowledge, bias, form and calibration of answers to four-way questions (arXiv 2509.04796 and beyond).

Each metric is computed over all answers, per format, per subject, and per subject in each format. The v_k are the
values of the options (`store.answers`).

    accuracy              the chosen option, argmax v, is right
    greedy_rate           among right answers: the choice is also the model's greedy continuation, in all its tokens
    dominant              share of the option, by its place, that is chosen most
    always_one            share of the place that is right most: the accuracy of always answering that place
    compliance            the model's greedy first token begins a valid answer: one of the four options, or, if a world's
                          question does not list them, any value of the requested kind
    confidence            share of the chosen option among the four
    confidently_wrong     share of wrong answers with a confidence above the recipe's bound
    ece                   expected calibration error of that confidence
    generated_accuracy    of sampled answers: the option they name (`data.parsing`) is right
    generated_compliance  of sampled answers: they name a valid answer
    entailment            mean probability that a sampled answer entails the right option's text

A question in several formats counts as one question. Intervals are over questions: Wilson's for shares, the bootstrap
for ratios. A rate of right answers is left out if none is right. `always_one` does not depend on the model and has no
interval.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autophage.metrics.calibration import calibration_error
from autophage.metrics.intervals import ratio_bootstrap, wilson
from autophage.store.answers import Answer
from autophage.store.manifest import Metric

GUESS = 0.25
"""Expected accuracy of random answers to four-way questions."""


@dataclass(frozen=True)
class Slice:
    """A subset of the answers, such as those of one format and subject.

    `suffix` ends the names of its metrics. `units[i]` is the number, from 0, of the question of answer i.
    """

    suffix: str
    answers: list[Answer]
    units: np.ndarray

    @property
    def questions(self) -> int:
        return int(self.units.max()) + 1

    def column(self, name: str) -> np.ndarray:
        return np.array([getattr(answer, name) for answer in self.answers])

    def share(self, name: str, hits: np.ndarray) -> Metric:
        value = float(hits.mean())
        return Metric(name + self.suffix, value, *wilson(value * self.questions, self.questions), len(hits))

    def ratio(self, name: str, tops: np.ndarray, bottoms: np.ndarray, resamples: int, seed: int) -> Metric:
        top, bottom = (np.bincount(self.units, weights=part.astype(float)) for part in (tops, bottoms))
        low, high = ratio_bootstrap(top, bottom, resamples, seed)
        return Metric(name + self.suffix, float(tops.sum() / bottoms.sum()), low, high, int(bottoms.sum()))


def question_metrics(answers: Sequence[Answer], confident: float, resamples: int, seed: int) -> list[Metric]:
    """Compute all metrics of a generation's answers to four-way questions, overall and per slice.

    A wrong answer is confidently wrong if its confidence exceeds `confident`. A slice has metrics of sampled answers
    only if each of its answers was sampled. Without answers the list is empty.
    """
    metrics = []
    for part in _slices(answers):
        metrics += _chosen(part, confident, resamples, seed)
        if all(answer.generated is not None for answer in part.answers):
            metrics += _generated(part, resamples, seed)
    return metrics


def _chosen(part: Slice, confident: float, resamples: int, seed: int) -> list[Metric]:
    right, greedy, confidence = part.column("right"), part.column("greedy"), part.column("confidence")
    chosen, gold = part.column("chosen"), part.column("gold")
    metrics = [
        part.share("questions/accuracy", right),
        part.share("questions/dominant", chosen == np.bincount(chosen).argmax()),
        Metric("questions/always_one" + part.suffix, _most(gold), n=len(gold)),
        part.share("questions/compliance", part.column("complies")),
        part.ratio("questions/confidence", confidence, np.ones(len(right)), resamples, seed),
        part.share("questions/confidently_wrong", ~right & (confidence > confident)),
    ]
    if right.any():
        metrics.append(part.ratio("questions/greedy_rate", greedy & right, right, resamples, seed))
    error, interval = calibration_error(right, confidence, part.units)
    return [*metrics, Metric("questions/ece" + part.suffix, error, *interval, len(right))]


def _generated(part: Slice, resamples: int, seed: int) -> list[Metric]:
    named, gold = part.column("generated_choice"), part.column("gold")
    metrics = [
        part.share("questions/generated_accuracy", named == gold),
        part.share("questions/generated_compliance", part.column("generated_complies")),
    ]
    if all(answer.entailment is not None for answer in part.answers):
        entailment = part.column("entailment").astype(float)
        metrics.append(part.ratio("questions/entailment", entailment, np.ones(len(named)), resamples, seed))
    return metrics


def _most(gold: np.ndarray) -> float:
    return float(np.bincount(gold).max() / len(gold))


def _slices(answers: Sequence[Answer]) -> list[Slice]:
    """Group the answers: all, by format, by subject, and by subject and format.

    A dot would end a metric's suffix, so a dot in a subject becomes a hyphen.
    """
    members: dict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        subject = answer.subject.replace(".", "-")
        for suffix in ("", f".{answer.format}", f".{subject}", f".{subject}.{answer.format}"):
            members[suffix].append(answer)
    return [slice_of(suffix, own) for suffix, own in members.items()]


def slice_of(suffix: str, answers: Sequence[Answer]) -> Slice:
    """Return the slice of these answers. `suffix` ends the names of its metrics."""
    return Slice(suffix, list(answers), _numbers(answers))


def _numbers(answers: Sequence[Answer]) -> np.ndarray:
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(answer.question, len(numbers)) for answer in answers])
