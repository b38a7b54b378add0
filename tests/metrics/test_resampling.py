from __future__ import annotations

import numpy as np
import pytest

from autophage.metrics.resampling import Resampling, estimate, holm, slopes


def outcomes(shares: list[float], seeds: int = 3, questions: int = 400, seed: int = 0) -> np.ndarray:
    """Independent answers whose accuracy follows `shares`, [S, G, Q]."""
    rng = np.random.default_rng(seed)
    return (rng.random((seeds, len(shares), questions)) < np.array(shares)[None, :, None]).astype(float)


def test_the_first_row_is_the_data() -> None:
    values = outcomes([0.9, 0.5, 0.2])
    series = Resampling(400, 1, resamples=50).series(values)
    assert series.shape == (51, 3)
    np.testing.assert_allclose(series[0], values.mean(axis=(0, 2)))


def test_the_interval_of_a_share_covers_it_as_often_as_it_says() -> None:
    inside = 0
    for repeat in range(200):
        values = outcomes([0.3], seeds=1, questions=150, seed=repeat)
        found = estimate(Resampling(150, repeat, resamples=400).series(values)[:, 0])
        inside += found.low <= 0.3 <= found.high
    assert 0.90 <= inside / 200 <= 0.99


def test_a_paired_difference_is_narrower_than_an_unpaired_one() -> None:
    rng = np.random.default_rng(3)
    hard = rng.random(300) < 0.5  # half of the questions nobody can answer
    first = np.where(hard, 0.0, 1.0)[None, None]
    second = np.where(rng.random(300) < 0.05, 0.0, first[0, 0])[None, None]
    draw = Resampling(300, 5)
    paired = estimate((draw.series(first) - draw.series(second))[:, 0])
    apart = estimate((Resampling(300, 6).series(first) - Resampling(300, 7).series(second))[:, 0])
    assert paired.high - paired.low < 0.5 * (apart.high - apart.low)
    assert paired.low > 0
    assert paired.p < 0.02


def test_slopes_are_those_of_least_squares() -> None:
    series = np.random.default_rng(0).random((4, 7))
    np.testing.assert_allclose(slopes(series, range(7)), [np.polyfit(range(7), row, 1)[0] for row in series])
    measured = [0, 5, 10, 15, 20, 25, 27]
    np.testing.assert_allclose(slopes(series, measured), [np.polyfit(measured, row, 1)[0] for row in series])


def test_p_values_of_no_difference_are_uniform() -> None:
    values = []
    for repeat in range(200):
        draw = Resampling(100, repeat)
        one, other = (draw.series(outcomes([0.5], 1, 100, seed))[:, 0] for seed in (repeat, repeat + 999))
        values.append(estimate(one - other).p)
    assert 0.01 <= np.mean(np.array(values) < 0.05) <= 0.10


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
