"""Knowledge of real places by frequency class, and how much of it a later model has kept.

`knowledge/accuracy` and its companions are computed over all answers, per class (head, torso, tail), and per class in
each format and each subject:

    accuracy              the option with the largest likelihood is right; a guess is right once in four
    confidence, confidently_wrong, ece    as for all questions, overall and per class
    generated_accuracy    of written answers: they name the right answer; a guess is hardly ever right
    retention             of what model 0 answered rightly (K0), the share that the model still does
    generated_retention   the same of written answers

Retention compares answers to one question in one format. A slice in which model 0 is not above a guess has none: what it
answered rightly there was luck. A question in several formats counts as one. Intervals are Wilson's over questions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np

from autophage.metrics.calibration import calibration_error
from autophage.metrics.intervals import wilson
from autophage.metrics.questions import GUESS, Slice, slice_of
from autophage.store.answers import Answer
from autophage.store.manifest import Metric


def place_metrics(answers: Sequence[Answer], confident: float, resamples: int, seed: int) -> list[Metric]:
    """Compute the knowledge that answers to questions about places show. Without such answers the list is empty.

    A wrong answer is confidently wrong if its confidence exceeds `confident`.
    """
    metrics = []
    for part in _slices(answers):
        right = part.column("right")
        metrics.append(part.share("knowledge/accuracy", right))
        if part.suffix.count(".") < 2:
            confidence = part.column("confidence")
            metrics.append(part.ratio("knowledge/confidence", confidence, np.ones(len(right)), resamples, seed))
            metrics.append(part.share("knowledge/confidently_wrong", ~right & (confidence > confident)))
            error, interval = calibration_error(right, confidence, part.units)
            metrics.append(Metric("knowledge/ece" + part.suffix, error, *interval, len(right)))
        if _written(part.answers):
            metrics.append(part.share("knowledge/generated_accuracy", np.array(list(map(_names_it, part.answers)))))
    return metrics


def retention_metrics(before: Sequence[Answer], now: Sequence[Answer]) -> list[Metric]:
    """Compute the share of what model 0 knew that a later model still knows.

    `before` holds the answers of model 0, `now` those of the later model. Model 0 itself has kept everything.
    """
    first = {(one.question, one.format): one for one in before if one.bucket is not None}
    both = [one for one in now if (one.question, one.format) in first]
    metrics = []
    for part in _slices(both):
        earlier = [first[one.question, one.format] for one in part.answers]
        if above_guess(earlier):
            metrics += _kept("knowledge/retention", part.suffix, earlier, part.answers, lambda one: one.right)
        if _written(earlier) and _written(part.answers):
            metrics += _kept("knowledge/generated_retention", part.suffix, earlier, part.answers, _names_it)
    return metrics


def above_guess(answers: Sequence[Answer]) -> bool:
    """Return True if the 95% interval of the accuracy of four-way answers lies above that of a guess."""
    part = slice_of("", answers)
    low, _ = wilson(float(part.column("right").mean()) * part.questions, part.questions)
    return low > GUESS


def guessed(answers: Sequence[Answer]) -> list[str]:
    """Return the classes of places about which a model only guesses, in the order head, torso, tail."""
    classes: dict[str, list[Answer]] = defaultdict(list)
    for one in answers:
        if one.bucket is not None:
            classes[one.bucket].append(one)
    return [name for name, own in classes.items() if not above_guess(own)]


def _kept(
    name: str, suffix: str, before: Sequence[Answer], now: Sequence[Answer], knows: Callable[[Answer], bool]
) -> list[Metric]:
    """Return the share of answers that were right before and still are; no metric if none was right."""
    known = [after for earlier, after in zip(before, now, strict=True) if knows(earlier)]
    if not known:
        return []
    share, questions = float(np.mean(list(map(knows, known)))), len({one.question for one in known})
    return [Metric(name + suffix, share, *wilson(share * questions, questions), len(known))]


def _written(answers: Sequence[Answer]) -> bool:
    return all(one.generated is not None for one in answers)


def _names_it(answer: Answer) -> bool:
    return answer.generated_choice == answer.gold


def _slices(answers: Sequence[Answer]) -> list[Slice]:
    members: dict[str, list[Answer]] = defaultdict(list)
    for one in answers:
        if one.bucket is not None:
            for suffix in ("", f".{one.bucket}", f".{one.bucket}.{one.format}", f".{one.bucket}.{one.subject}"):
                members[suffix].append(one)
    return [slice_of(suffix, own) for suffix, own in members.items()]
