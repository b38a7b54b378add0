"""Stages of knowledge collapse (arXiv 2509.04796), with explicit thresholds.

    A  knowledge is kept
    B  knowledge has collapsed and form holds: the model is fluent and answers in the requested form
    C  instruction following has collapsed: accuracy is at chance, or the form of answers is lost

The paper gives a number for C alone: accuracy at or below 0.28 on four-way questions. Stage B begins at the change
point of accuracy. The change point splits the accuracies into two levels with the least squared error. `ruptures`
finds it, with a linear kernel and one change (Truong et al. 2020, Signal Processing 167). Accuracy must fall over it
by at least `DROP` more than the control's over the same generations.

Every resample of seeds and questions repeats the whole computation. An onset therefore has an interval, and a share of
resamples that contain it.

Arrays have S seeds, G generations, Q questions and R resamples. Row 0 of R is the data itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autophage.metrics.resampling import TAILS, BootstrapEstimate, Resampling, estimate, slopes

CHANCE = 0.28
"""Accuracy on four-way questions at which stage C begins: the paper's threshold, 0.03 above guessing."""
COMPLIANT = 0.5
"""Share of answers in the requested form below which form counts as lost. Below one half, most replies are not answers."""
FLUENT = 1.5
"""Largest perplexity, relative to generation 0, of a fluent model. The perplexity of facts reaches four times in a
collapse.
"""
DROP = 0.05
"""Smallest fall of accuracy beyond the control's that counts as a collapse. 100 questions resolve no less."""
SHOWN = 0.95
"""Share of resamples that must contain a stage for the stage to count as shown."""


@dataclass(frozen=True)
class Answers:
    """Answers of one arm to questions in one format, over S seeds, G generations and Q questions.

    `generations` are the measured ones, from 0. `right` and `complies` (the answer has the form asked for) are 0 or 1,
    [S, G, Q]. `fluency` is the model's perplexity, [S, G].
    """

    right: np.ndarray
    complies: np.ndarray
    fluency: np.ndarray
    generations: Sequence[int]


@dataclass(frozen=True)
class Onset:
    """First generation of a stage of collapse, with its 95% interval. None means never.

    `share` is the share of resamples in which the stage occurs.
    """

    generation: int | None
    low: int | None
    high: int | None
    share: float

    @property
    def shown(self) -> bool:
        return self.generation is not None and self.share >= SHOWN


@dataclass(frozen=True)
class Course:
    """Stages of knowledge collapse of one arm in one question format.

    `labels` has one letter for each measured generation. A stands for kept knowledge. B stands for lost knowledge in a fluent
    model. C stands for lost form or for accuracy at chance. The letter b marks fallen accuracy in a model that is not
    fluent. `collapse` is the onset of B, `loss_of_form` that of C. `slope` is the change of accuracy per generation.
    `drop` is the fall of accuracy from generation 0 to the last, beyond the control's. Without a control it is the fall
    itself.
    """

    labels: str
    collapse: Onset
    loss_of_form: Onset
    slope: BootstrapEstimate
    drop: BootstrapEstimate


def course(answers: Answers, control: Answers | None, resampling: Resampling) -> Course:
    """Find the generations at which an arm loses its knowledge and its form.

    The fall of accuracy counts beyond that of `control`, if given.
    """
    accuracy_RG = resampling.series(answers.right)
    compliance_RG = resampling.series(answers.complies)
    control_RG = np.zeros_like(accuracy_RG) if control is None else resampling.series(control.right)
    fluent_G = _fluent(answers.fluency)
    never = accuracy_RG.shape[1]
    lost_RG = (accuracy_RG <= CHANCE) | (compliance_RG < COMPLIANT)
    form_R = _for_good(lost_RG)
    fall_R = np.array([_fall(*both) for both in zip(accuracy_RG, control_RG, strict=True)])
    within_R = np.minimum(fall_R, never - 1)
    rows = np.arange(len(fall_R))
    collapse_R = np.where(~lost_RG[rows, within_R] & fluent_G[within_R], fall_R, never)
    labels = "".join(
        "C" if g >= form_R[0] else "A" if g < fall_R[0] else "B" if fluent_G[g] else "b" for g in range(never)
    )
    drop_R = (accuracy_RG[:, 0] - accuracy_RG[:, -1]) - (control_RG[:, 0] - control_RG[:, -1])
    return Course(
        labels,
        _onset(collapse_R, answers.generations),
        _onset(form_R, answers.generations),
        estimate(slopes(accuracy_RG, answers.generations)),
        estimate(drop_R),
    )


def change_point(series_G: np.ndarray) -> int | None:
    """Return the index at which a series [G] splits into two levels with the least squared error.

    The index is the first of the second level. Fewer than three values or a constant series give None.
    """
    import ruptures  # imports scipy, which is slow; a report without questions does not need it

    if len(series_G) < 3 or np.ptp(series_G) == 0:
        return None
    return int(ruptures.KernelCPD(kernel="linear", min_size=1).fit(series_G.reshape(-1, 1)).predict(n_bkps=1)[0])


def _fall(accuracy_G: np.ndarray, control_G: np.ndarray) -> int:
    """Return the generation at which accuracy falls by `DROP` more than the control's.

    Both arguments are the accuracies of one resample over G generations. Without such a fall the result is G.
    """
    place = change_point(accuracy_G)
    if place is None:
        return len(accuracy_G)
    fall = accuracy_G[:place].mean() - accuracy_G[place:].mean()
    fall -= max(0.0, control_G[:place].mean() - control_G[place:].mean())
    return place if fall >= DROP else len(accuracy_G)


def _for_good(lost_RG: np.ndarray) -> np.ndarray:
    """Return, for each of R resamples, the first generation from which an arm stays lost to the end.

    The result is G, the generation count, if the last generation is not lost.
    """
    stays_RG = np.logical_and.accumulate(lost_RG[:, ::-1], axis=1)[:, ::-1]
    return np.asarray(lost_RG.shape[1] - stays_RG.sum(axis=1))


def _fluent(fluency_SG: np.ndarray) -> np.ndarray:
    """Mark the generations [G] whose mean perplexity over seeds is at most `FLUENT` times that of generation 0."""
    mean_G = fluency_SG.mean(axis=0)
    return np.asarray(mean_G <= FLUENT * mean_G[0])


def _onset(first_R: np.ndarray, generations: Sequence[int]) -> Onset:
    """Return the onset from places in `generations`. The place after the last one means never."""
    never = len(generations)
    low, high = np.percentile(first_R[1:], TAILS, method="nearest").astype(int)
    share = float((first_R[1:] < never).mean())
    value, low, high = (None if one == never else int(generations[one]) for one in (first_R[0], low, high))
    return Onset(value, low, high, share)
