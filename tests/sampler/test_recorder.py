"""The recorder keeps raw logits from the sampler's changes, does not depend on blocks, and raises only out of memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

import autophage_kernels
from autophage.metrics.scored import Statistics
from autophage.sampler import recorder as module
from autophage.sampler.record import Record
from autophage.sampler.recorder import Recorder, Rows

VOCABULARY = 37


@dataclass
class Batch:
    """A batch whose requests come, go and change places. `steps` holds request ids, logits and tokens."""

    steps: list[tuple[list[str], torch.Tensor, torch.Tensor]]

    @classmethod
    def random(cls, requests: int = 9, longest: int = 12, vocabulary: int = VOCABULARY) -> Batch:
        generator = torch.Generator().manual_seed(0)
        lengths = [1 + index % longest for index in range(requests)]
        steps = []
        for step in range(longest):
            ids = [f"r{index}" for index in range(requests) if step < lengths[index]][:: -1 if step % 2 else 1]
            logits = 3 * torch.randn(len(ids), vocabulary, generator=generator)
            steps.append((ids, logits, torch.randint(vocabulary, (len(ids), 1), generator=generator)))
        return cls(steps)

    def tokens(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for ids, _, tokens in self.steps:
            for name, token in zip(ids, tokens[:, 0].tolist(), strict=True):
                found.setdefault(name, []).append(token)
        return found

    def expected(self) -> dict[str, np.ndarray]:
        """Return the statistics of each request, [T, 5] in float64."""
        found: dict[str, list[list[float]]] = {}
        for ids, logits, tokens in self.steps:
            log_p = logits.double().log_softmax(1)
            for name, row, token in zip(ids, log_p, tokens[:, 0].tolist(), strict=True):
                p, finite = row.exp(), torch.where(row.isinf(), 0.0, row)
                entropy = -(p * finite).sum()
                varentropy = (p * finite.square()).sum() - entropy.square()
                rank = 1 + (row > row[token]).sum()
                values = [row[token], entropy, varentropy, p.max(), rank]
                found.setdefault(name, []).append([float(value) for value in values])
        return {name: np.array(rows) for name, rows in found.items()}


def watch(batch: Batch, recorder: Recorder) -> Record:
    """Record a batch as a hook does. The logits are then changed in place, as by a sampler."""
    written: dict[str, int] = {}
    for ids, logits, tokens in batch.steps:
        own = logits.clone()
        recorder.before(own)
        own.mul_(0.1).masked_fill_(own < 0, -torch.inf)
        positions = np.array([written.get(name, 0) for name in ids])
        written |= {name: written.get(name, 0) + 1 for name in ids}
        recorder.after(tokens.to(torch.int32), partial(Rows, ids, positions, np.ones(len(ids), bool)))
    return recorder.finish()


def matrix(statistics: Statistics) -> np.ndarray:
    return np.stack(list(vars(statistics).values()), axis=1)


@pytest.mark.parametrize("buffer_bytes", [0, 4 * VOCABULARY * 10, 1 << 20])
def test_statistics_are_of_the_raw_logits_whatever_the_block(buffer_bytes: int) -> None:
    batch = Batch.random()
    record = watch(batch, Recorder(1, buffer_bytes=buffer_bytes))
    record.require_faultless()
    expected = batch.expected()
    for name, tokens in batch.tokens().items():
        raw = record.statistics(name, tokens)
        np.testing.assert_allclose(matrix(raw), expected[name], atol=1e-5)


def test_the_same_batch_gives_the_same_bits() -> None:
    batch = Batch.random()
    assert watch(batch, Recorder(4)).to_bytes() == watch(batch, Recorder(4)).to_bytes()


def test_masked_tokens_have_defined_statistics() -> None:
    batch = Batch.random()
    for _, logits, tokens in batch.steps:
        kept = logits.gather(1, tokens)
        logits[:, ::3] = -torch.inf
        logits.scatter_(1, tokens, kept)
    record = watch(batch, Recorder(4))
    for name, sampled in batch.tokens().items():
        np.testing.assert_allclose(matrix(record.statistics(name, sampled)), batch.expected()[name], atol=1e-5)


def test_one_possible_token_is_certain() -> None:
    batch = Batch([(["a"], torch.full((1, VOCABULARY), -torch.inf), torch.tensor([[4]]))])
    batch.steps[0][1][0, 4] = 2.5
    statistics = watch(batch, Recorder(1)).statistics("a", [4])
    assert matrix(statistics).tolist() == [[0.0, 0.0, 0.0, 1.0, 1.0]]


def test_bfloat16_logits_are_taken_as_they_are() -> None:
    batch = Batch.random()
    batch.steps = [(ids, logits.bfloat16(), tokens) for ids, logits, tokens in batch.steps]
    record = watch(batch, Recorder(4))
    for name, sampled in batch.tokens().items():
        np.testing.assert_allclose(matrix(record.statistics(name, sampled)), batch.expected()[name], atol=1e-5)


def test_another_vocabulary_or_more_rows_get_a_new_buffer() -> None:
    recorder = Recorder(2, buffer_bytes=0)
    wide, narrow = Batch.random(vocabulary=50), Batch.random(requests=3)
    wide.steps = [([f"w{name}" for name in ids], logits, tokens) for ids, logits, tokens in wide.steps]
    joined = Batch([*narrow.steps, *wide.steps])
    record = watch(joined, recorder)
    record.require_faultless()
    for name, tokens in joined.tokens().items():
        np.testing.assert_allclose(matrix(record.statistics(name, tokens)), joined.expected()[name], atol=1e-5)


def test_nothing_raises_and_every_fault_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Rows:
        raise KeyError("no such request")

    recorder = Recorder(4)
    recorder.before(None)  # type: ignore[arg-type]
    recorder.after(torch.zeros(1, 1), broken)  # nothing was copied, so that this step is counted once
    recorder.before(torch.zeros(2, 4))
    recorder.after(torch.zeros(2, 1), broken)
    recorder.before(torch.zeros(2, 4))
    recorder.after(torch.zeros(3, 1), lambda: Rows(["a"], np.zeros(1), np.ones(1)))
    recorder.before(torch.zeros(1, 4))
    recorder.after(torch.zeros(1, 1), lambda: Rows(["a"], np.zeros(1), np.ones(1)))
    monkeypatch.setattr(module, "token_stats", lambda *_, **__: 1 / 0)
    record = recorder.finish()
    assert sorted(name.split(":")[0] for name in record.faults) == [
        "KeyError",
        "TypeError",
        "ValueError",
        "ZeroDivisionError",
    ]
    assert set(record.faults.values()) == {1}
    assert any("2 rows of logits, 3 tokens, 1 requests" in name for name in record.faults)
    assert record.spans == {}


def scarce(monkeypatch: pytest.MonkeyPatch, rows: int) -> list[int]:
    """Let the memory suffice for statistics of at most `rows` rows. Return the sizes that were tried."""
    tried = []

    def token_stats(logits_NV: torch.Tensor, *arguments: Any, **settings: Any) -> Any:
        tried.append(len(logits_NV))
        if len(logits_NV) > rows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return autophage_kernels.token_stats(logits_NV, *arguments, **settings)

    monkeypatch.setattr(module, "token_stats", token_stats)
    return tried


def test_statistics_are_computed_in_parts_where_memory_is_scarce(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = Batch.random()
    plenty = watch(batch, Recorder(4))
    tried = scarce(monkeypatch, 3)
    record = watch(batch, Recorder(4))
    assert max(tried) > 3
    record.require_faultless()
    for name, tokens in batch.tokens().items():
        np.testing.assert_allclose(
            matrix(record.statistics(name, tokens)), matrix(plenty.statistics(name, tokens)), atol=1e-6
        )


def test_a_step_without_memory_raises_and_earlier_rows_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = Batch([([f"r{step}"], torch.randn(1, VOCABULARY), torch.tensor([[step]])) for step in range(3)])
    recorder = Recorder(1, buffer_bytes=0)
    for step, (ids, logits, tokens) in enumerate(batch.steps):
        if step:
            with monkeypatch.context() as patch:
                scarce(patch, 0)
                with pytest.raises(torch.OutOfMemoryError):  # the buffer is full of the row before
                    recorder.before(logits)
                recorder.after(tokens, partial(Rows, ["lost"], np.zeros(1), np.ones(1, bool)))
        recorder.before(logits)
        recorder.after(tokens, partial(Rows, ids, np.zeros(1), np.ones(1, bool)))
    record = recorder.finish()
    record.require_faultless()
    assert set(record.spans) == {"r0", "r1", "r2"}
    for name, sampled in batch.tokens().items():
        np.testing.assert_allclose(matrix(record.statistics(name, sampled)), batch.expected()[name], atol=1e-5)


def test_tokens_that_do_not_fit_raise() -> None:
    def rows() -> Rows:
        raise torch.OutOfMemoryError("CUDA out of memory")

    recorder = Recorder(1)
    recorder.before(torch.zeros(1, 4))
    with pytest.raises(torch.OutOfMemoryError):
        recorder.after(torch.zeros(1, 1), rows)
    assert recorder.finish().faults == {}


def test_a_buffer_that_does_not_fit_is_as_small_as_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, sizes = torch.empty, []

    def empty(*size: int, **settings: Any) -> torch.Tensor:
        sizes.append(size)
        if len(size) == 2 and size[0] > 9:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 64.00 MiB")
        return plain(*size, **settings)

    batch = Batch.random()
    monkeypatch.setattr(torch, "empty", empty)
    record = watch(batch, Recorder(16))
    assert any(size[0] > 9 for size in sizes)
    record.require_faultless()
    for name, tokens in batch.tokens().items():
        np.testing.assert_allclose(matrix(record.statistics(name, tokens)), batch.expected()[name], atol=1e-5)


def test_a_vocabulary_that_float32_cannot_count_is_a_fault() -> None:
    recorder = Recorder(1)
    recorder.before(torch.empty(1, 1).expand(1, module.EXACT))
    assert any("does not fit in float32" in name for name in recorder.finish().faults)


def test_nothing_recorded_is_an_empty_record() -> None:
    record = Recorder(4).finish()
    assert (record.spans, record.faults, record.columns.shape) == ({}, {}, (6, 0))


def test_blocks_keep_apart_in_pinned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pinning needs a GPU, so the memory is plain here. There is so little of it that blocks cross its end."""
    plain = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *sizes, pin_memory=False, **settings: plain(*sizes, **settings))
    monkeypatch.setattr(module, "PINNED_VALUES", 50)
    recorder = Recorder(4)
    blocks = [torch.randn(6, rows) for rows in (4, 1, 4, 20, 3, 1, 8)]
    kept = [recorder._to_host(block) for block in blocks]
    assert all(torch.equal(one, other) for one, other in zip(kept, blocks, strict=True))
