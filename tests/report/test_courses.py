from __future__ import annotations

import warnings

import numpy as np
import pytest

from autophage.metrics.collapse import Answers, course
from autophage.metrics.resampling import Resampling
from autophage.report.courses import _row


@pytest.mark.parametrize(("known", "shown"), [(0, "none known"), (1, "100% (100% to 100%)")])
def test_few_known_questions_are_no_division_by_zero(known: int, shown: str) -> None:
    """Resamples without a known question have no share of kept ones."""
    right = np.zeros((1, 2, 4))
    right[..., :known] = 1
    answers = Answers(right, np.ones_like(right), np.ones((1, 2)), range(2))
    resampling = Resampling(4, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        row = _row("arm", "cloze", course(answers, None, resampling), None, answers, resampling)
    assert row.cells[-1].text == shown
