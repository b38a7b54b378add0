"""Recorded rows join returned tokens by request and position. The last row wins, and a missing row is an error."""

from __future__ import annotations

import numpy as np
import pytest

from autophage.errors import RunError
from autophage.sampler.record import NAMES, Record


def record(
    rows: list[tuple[str, int, int]],
    valid: list[bool] | None = None,
    *,
    faults: dict[str, int] | None = None,
    columns: np.ndarray | None = None,
) -> Record:
    """Build a record from (request, position, token) in the order of sampling. Statistics of row n are n + 0.1 * column."""
    width = 1 + len(NAMES)
    if columns is None:
        columns = np.arange(len(rows), dtype=np.float32) + 0.1 * np.arange(width, dtype=np.float32)[:, None]
        columns[0] = [token for _, _, token in rows]
        columns[len(NAMES)] = 1 + np.arange(len(rows))
    half = len(rows) // 2
    return Record.of(
        [request for request, _, _ in rows],
        np.array([position for _, position, _ in rows], dtype=np.int64),
        np.array(valid if valid is not None else [True] * len(rows), dtype=bool),
        [columns[:, :half], columns[:, half:]],
        faults or {},
    )


STEPS = [("a", 0, 5), ("b", 0, 6), ("b", 1, 7), ("a", 1, 8), ("c", 0, 9), ("a", 2, 2)]
"""Steps in which requests change places, and `c` comes later."""


def test_rows_go_by_request_and_position() -> None:
    found = record(STEPS).statistics("a", [5, 8, 2])
    np.testing.assert_allclose(found.logprob, [0.1, 3.1, 5.1], rtol=1e-6)
    assert (found.rank.tolist(), found.rank.dtype) == ([1, 4, 6], np.dtype(np.int64))
    assert found.logprob.dtype == np.float32
    assert len(record(STEPS).statistics("c", [9]).logprob) == 1


def test_a_position_that_was_sampled_again_counts_as_last_sampled() -> None:
    again = record([*STEPS, ("a", 1, 4)])
    np.testing.assert_allclose(again.statistics("a", [5, 4, 2]).logprob, [0.1, 6.1, 5.1], rtol=1e-6)
    with pytest.raises(RunError, match="token 1 is 8, but statistics were recorded for token 4"):
        again.statistics("a", [5, 8, 2])


def test_what_vllm_throws_away_is_no_row() -> None:
    pieces = record([("a", -40, 3), ("a", -8, 3), ("a", 0, 5)], [False, False, True])
    assert pieces.statistics("a", [5]).rank.tolist() == [3]


def test_a_step_after_the_end_is_left_out() -> None:
    assert len(record(STEPS).statistics("a", [5, 8]).logprob) == 2


def test_an_empty_sample_has_empty_statistics() -> None:
    for one in (record(STEPS), record([])):
        for request in ("a", "never seen"):
            statistics = one.statistics(request, [])
            assert [len(value) for value in vars(statistics).values()] == [0] * len(NAMES)


@pytest.mark.parametrize(
    ("request_id", "token_ids", "found"), [("a", [5, 8, 2, 2], 3), ("nobody", [1], 0), ("b", [6, 7, 1], 2)]
)
def test_a_token_without_a_row_is_an_error(request_id: str, token_ids: list[int], found: int) -> None:
    with pytest.raises(
        RunError, match=f"{request_id}: statistics were recorded for {found} of its {len(token_ids)} tokens"
    ):
        record(STEPS).statistics(request_id, token_ids)


def test_a_gap_is_an_error() -> None:
    with pytest.raises(RunError, match="for 2 of its 3 tokens"):
        record([("a", 0, 5), ("a", 2, 7), ("a", 3, 9)]).statistics("a", [5, 6, 7])


def test_a_number_that_is_not_one_is_an_error() -> None:
    columns = np.ones((1 + len(NAMES), 2), np.float32)
    columns[2, 1] = np.nan
    with pytest.raises(RunError, match="distribution at token 1 is not finite"):
        record([("a", 0, 1), ("a", 1, 1)], columns=columns).statistics("a", [1, 1])


def test_faults_are_told_by_name() -> None:
    record(STEPS).require_faultless()
    with pytest.raises(
        RunError, match=r"ValueError: one \(2 times\); TypeError: other \(1 times\)|TypeError.*ValueError"
    ):
        record(STEPS, faults={"ValueError: one": 2, "TypeError: other": 1}).require_faultless()


def test_it_crosses_as_bytes() -> None:
    for one in (record(STEPS, faults={"ValueError: one": 2}), record([])):
        back = Record.from_bytes(one.to_bytes())
        assert (back.spans, back.faults) == (one.spans, one.faults)
        np.testing.assert_array_equal(back.columns, one.columns)
        np.testing.assert_array_equal(back.positions, one.positions)
