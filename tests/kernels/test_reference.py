from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autophage_kernels import reference, token_stats


def in_float64(logits: torch.Tensor, target: torch.Tensor) -> dict[str, torch.Tensor]:
    """The definitions once more, by another route: torch.distributions in float64."""
    distribution = torch.distributions.Categorical(logits=logits.double())
    log_p = logits.double().log_softmax(1)
    p = log_p.exp()
    own = logits.gather(1, target[:, None])
    surprisal = torch.where(p > 0, -log_p, torch.zeros_like(log_p))
    return {
        "logprob": distribution.log_prob(target),
        "entropy": distribution.entropy(),
        "varentropy": (p * surprisal**2).sum(1) - (p * surprisal).sum(1) ** 2,
        "max_prob": p.max(1).values,
        "argmax": logits.argmax(1),
        "rank": (logits > own).sum(1) + 1,
        "mass_above": (p * (logits > own)).sum(1),
        "lse": logits.double().logsumexp(1),
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("rows", "vocabulary"), [(1, 1), (1, 2), (7, 265), (33, 5000)])
def test_agrees_with_float64(rows: int, vocabulary: int, dtype: torch.dtype) -> None:
    torch.manual_seed(rows * vocabulary)
    logits = (torch.randn(rows, vocabulary) * 5).to(dtype)
    target = torch.randint(vocabulary, (rows,))
    stats = token_stats(logits, target)
    for name, expected in in_float64(logits, target).items():
        torch.testing.assert_close(getattr(stats, name).double(), expected.double(), atol=2e-5, rtol=2e-5, msg=name)


@given(shift=st.floats(-50, 50), seed=st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_adding_a_constant_changes_only_the_lse(shift: float, seed: int) -> None:
    logits = torch.randn(3, 40, generator=torch.Generator().manual_seed(seed))
    target = torch.tensor([0, 5, 39])
    plain, shifted = token_stats(logits, target), token_stats(logits + shift, target)
    torch.testing.assert_close(plain.entropy, shifted.entropy, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(plain.logprob, shifted.logprob, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(plain.lse + shift, shifted.lse, atol=1e-4, rtol=1e-4)


def test_masked_tokens_count_for_nothing() -> None:
    logits = torch.tensor([[0.0, -math.inf, 0.0], [1.0, -math.inf, -math.inf]])
    stats = token_stats(logits, torch.tensor([0, 0]))
    torch.testing.assert_close(stats.entropy, torch.tensor([math.log(2), 0.0]))
    torch.testing.assert_close(stats.varentropy, torch.zeros(2), atol=1e-6, rtol=0)
    assert stats.logprob[1] == 0.0


def test_ties_do_not_raise_the_rank() -> None:
    stats = token_stats(torch.tensor([[2.0, 2.0, 1.0, 3.0]]), torch.tensor([1]))
    assert stats.rank.item() == 2
    assert stats.argmax.item() == 3


def test_chunks_do_not_change_results(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, target = torch.randn(50, 64), torch.randint(64, (50,))
    whole = token_stats(logits, target)
    monkeypatch.setattr(reference, "CHUNK_ELEMENTS", 64 * 3)
    chunked = token_stats(logits, target)
    assert all(torch.equal(getattr(whole, name), getattr(chunked, name)) for name in vars(whole))


def test_no_rows_make_empty_statistics() -> None:
    stats = token_stats(torch.empty(0, 9), torch.empty(0, dtype=torch.long))
    assert stats.entropy.shape == (0,)


@pytest.mark.parametrize(
    ("logits", "target"),
    [
        (torch.zeros(2, 3), torch.zeros(3, dtype=torch.long)),
        (torch.zeros(2, 3, 4), torch.zeros(2, dtype=torch.long)),
        (torch.zeros(2, 0), torch.zeros(2, dtype=torch.long)),
        (torch.zeros(2, 3, dtype=torch.long), torch.zeros(2, dtype=torch.long)),
        (torch.zeros(2, 3), torch.zeros(2)),
    ],
)
def test_misfits_are_named(logits: torch.Tensor, target: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="token_stats needs"):
        token_stats(logits, target)
