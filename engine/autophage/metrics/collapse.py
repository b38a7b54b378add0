"""Stages of knowledge collapse (arXiv 2509.04796) from what was answered, with thresholds that are stated here.

    A  knowledge is kept
    B  knowledge collapses while form holds: from the change point of accuracy on, as long as the model is still fluent and
       still answers in the form that was asked for
    C  instruction following collapses: accuracy is at chance, or the form of answers is lost

The paper gives a number for C alone (accuracy at or below 0.28 on four-way questions). The change point is the split of
the accuracies into two levels with the least squared error (`ruptures`, linear kernel, one change; Truong et al. 2020,
Signal Processing 167), and it is B's onset if accuracy fell over it by at least `DROP` more than the control's did over
the same generations. Everything is computed again in every resample of seeds and questions, so an onset comes with an
interval and with the share of resamples in which there was one.

Pure functions of arrays: S seeds, G generations, Q questions, R resamples (row 0: the data as they are).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from autophage.metrics.resampling import TAILS, Estimate, Resampling, estimate, slopes

CHANCE = 0.28
"""Accuracy on four-way questions at which stage C begins: the paper's bar, 0.03 above guessing."""
COMPLIANT = 0.5
"""Share of answers in the form asked for below which form counts as lost: most answers are then no answers."""
FLUENT = 1.5
"""Perplexity over that of generation 0 up to which a model counts as fluent. Facts of a collapsing model go to four times."""
DROP = 0.05
"""Fall of accuracy beyond the control's that counts as one: what 100 questions can tell at all."""
SHOWN = 0.95
"""Share of resamples that must agree before a stage is called shown."""


@dataclass(frozen=True)
class Answers:
    """What one arm answered in one format: `right` and `complies` are 0 or 1, [S, G, Q]; `fluency` is a perplexity, [S, G]."""

    right: np.ndarray
    complies: np.ndarray
    fluency: np.ndarray


@dataclass(frozen=True)
class Onset:
    """First generation of a stage (None: never) with its 95% interval, in which None stands for never, and the share of
    resamples that have the stage at all."""

    generation: int | None
    low: int | None
    high: int | None
    share: float

    @property
    def shown(self) -> bool:
        return self.generation is not None and self.share >= SHOWN


@dataclass(frozen=True)
class Course:
    """`labels` are A, B, C by generation; `b` stands for fallen accuracy of a model that is not fluent either."""

    labels: str
    collapse: Onset
    loss_of_form: Onset
    slope: Estimate
    drop: Estimate
    """Fall of accuracy from generation 0 to the last beyond the control's; without a control, the fall itself."""


def course(answers: Answers, control: Answers | None, resampling: Resampling) -> Course:
    """The stages that an arm goes through, held against its control where there is one."""
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
        labels, _onset(collapse_R, never), _onset(form_R, never), estimate(slopes(accuracy_RG)), estimate(drop_R)
    )


def change_point(series_G: np.ndarray) -> int | None:
    """First generation of the second of two levels; None where there are too few generations, or no two values, for one."""
    import ruptures  # brings scipy, which `status` and `report` of other runs need not wait for

    if len(series_G) < 3 or np.ptp(series_G) == 0:
        return None
    return int(ruptures.KernelCPD(kernel="linear", min_size=1).fit(series_G.reshape(-1, 1)).predict(n_bkps=1)[0])


def _fall(accuracy_G: np.ndarray, control_G: np.ndarray) -> int:
    """Where one resample's accuracy falls by `DROP` more than the control's; the number of generations where it does not."""
    place = change_point(accuracy_G)
    if place is None:
        return len(accuracy_G)
    fall = accuracy_G[:place].mean() - accuracy_G[place:].mean()
    fall -= max(0.0, control_G[:place].mean() - control_G[place:].mean())
    return place if fall >= DROP else len(accuracy_G)


def _for_good(lost_RG: np.ndarray) -> np.ndarray:
    """First generation from which every later one is lost too, [R]; the number of generations where the last is not."""
    stays_RG = np.logical_and.accumulate(lost_RG[:, ::-1], axis=1)[:, ::-1]
    return np.asarray(lost_RG.shape[1] - stays_RG.sum(axis=1))


def _fluent(fluency_SG: np.ndarray) -> np.ndarray:
    """Whether the mean perplexity over seeds is within `FLUENT` times that of generation 0, [G]."""
    mean_G = fluency_SG.mean(axis=0)
    return np.asarray(mean_G <= FLUENT * mean_G[0])


def _onset(first_R: np.ndarray, never: int) -> Onset:
    low, high = np.percentile(first_R[1:], TAILS, method="nearest").astype(int)
    share = float((first_R[1:] < never).mean())
    value, low, high = (None if one == never else int(one) for one in (first_R[0], low, high))
    return Onset(value, low, high, share)
