"""Properties of any logits: merging, order, offsets, bounds, and independence from the batch."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.kernels import exact
from tests.present import present

from autophage_kernels import TokenDivergence, reference, token_divergence, token_stats
from autophage_kernels.divergences import chosen_divergences, unpack_divergences
from autophage_kernels.partial import FIELDS, Field
from autophage_kernels.reference import chunks
from autophage_kernels.statistics import NAMES, chosen, unpack

BITS = chosen(None, with_target=True)
seeds = st.integers(0, 10_000)
any_settings = settings(max_examples=60, deadline=None, derandomize=True)


def random_logits(seed: int, rows: int = 3, vocabulary: int = 40, scale: float = 4.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(rows, vocabulary, generator=generator)
    if seed % 3 == 0:  # ties
        logits = logits.round()
    if seed % 4 == 0:  # masks
        logits[:, 1:][torch.rand(rows, vocabulary - 1, generator=generator) < 0.4] = -math.inf
    return logits


@given(seed=seeds, cuts=st.lists(st.integers(0, 40), max_size=6), order=st.randoms(use_true_random=False))
@any_settings
def test_any_partition_of_the_columns_merges_to_one_pass(seed: int, cuts: list[int], order: random.Random) -> None:
    logits = random_logits(seed)
    if seed % 2:
        logits[:, :20] = -math.inf  # parts that are all -inf
    target = torch.tensor([0, 39, 25])
    target_logit = logits.gather(1, target[:, None]).flatten()
    edges = sorted({0, 40, *cuts})
    spans = list(pairwise(edges))
    order.shuffle(spans)
    parts = [
        reference.partial_stats(logits[None, :, a:b], target, target_logit, None, 0.0, a, BITS, False) for a, b in spans
    ]
    if seed % 5 == 0:  # a part without columns
        empty = torch.zeros(FIELDS, 1, 3)
        empty[[Field.PEAK, Field.OWN]] = -math.inf
        parts.insert(1, empty)
    floats, integers, _ = reference.merge_stats(torch.cat(parts, 1), target, None, 0.0, -100, 40, BITS)
    found = unpack(floats, integers, BITS, torch.Size([3]))
    exact.check(found, exact.statistics, logits, target)


@given(seed=seeds, cuts=st.lists(st.integers(1, 39), max_size=5))
@any_settings
def test_any_partition_merges_to_one_divergence(seed: int, cuts: list[int]) -> None:
    p, q = random_logits(seed), random_logits(seed + 1)
    if seed % 2:
        p[:, :20] = q[:, :15] = -math.inf
    bits = chosen_divergences(None)
    edges = sorted({0, 40, *cuts})
    parts = [
        reference.partial_divergence(p[None, :, a:b], q[None, :, a:b], None, 0.0, bits, False)
        for a, b in pairwise(edges)
    ]
    values, _ = reference.merge_divergence(torch.cat(parts, 1), None, 0.0, bits)
    exact.check(unpack_divergences(values, bits, torch.Size([3])), exact.divergences, p, q)


@given(seed=seeds, power=st.integers(-6, 12), sign=st.sampled_from([-1, 1]))
@any_settings
def test_a_shift_changes_nothing_but_where_the_row_is(seed: int, power: int, sign: int) -> None:
    logits = random_logits(seed).mul(256).round().div(256)  # so that the shifted logits are exact too
    shift = sign * 2.0**power
    plain, shifted = (
        token_stats(logits, torch.zeros(3, dtype=torch.int64)),
        token_stats(logits + shift, torch.zeros(3, dtype=torch.int64)),
    )
    for name in NAMES:
        if name == "lse":
            torch.testing.assert_close(getattr(plain, name) + shift, getattr(shifted, name))
        else:
            assert exact.same(plain, shifted, [name]), name


@given(seed=seeds)
@any_settings
def test_the_order_of_the_columns_is_nothing(seed: int) -> None:
    logits = random_logits(seed)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(seed))
    plain = token_stats(logits, order[:1].expand(3))
    mixed = token_stats(logits[:, order], torch.zeros(3, dtype=torch.long))
    for name in NAMES:
        if name == "argmax":
            picked = logits[:, order].gather(1, present(mixed.argmax)[:, None])
            assert torch.equal(logits.gather(1, present(plain.argmax)[:, None]), picked)
        else:
            torch.testing.assert_close(getattr(plain, name), getattr(mixed, name), atol=1e-5, rtol=1e-5, msg=name)


@given(
    seed=seeds,
    scale=st.sampled_from([0.0, 1e-4, 0.1, 1.0, 30.0, 1e4]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
@any_settings
def test_bounds(seed: int, scale: float, dtype: torch.dtype) -> None:
    logits = random_logits(seed, vocabulary=1 + seed % 90, scale=scale).to(dtype)
    other = random_logits(seed + 1, vocabulary=1 + seed % 90, scale=scale).to(dtype)
    vocabulary = logits.shape[1]
    target = torch.full((3,), seed % vocabulary)
    found = token_stats(logits, target)
    highest = math.log(vocabulary) + 1e-6
    assert ((present(found.entropy) >= 0) & (present(found.entropy) <= highest)).all()
    assert ((present(found.renyi2) >= 0) & (present(found.renyi2) <= present(found.entropy) + 1e-5)).all()
    assert (present(found.varentropy) >= 0).all()
    assert (present(found.logprob) <= 0).all()
    assert ((present(found.max_prob) > 0) & (present(found.max_prob) <= 1)).all()
    assert ((present(found.mass_above) >= 0) & (present(found.mass_above) <= 1 + 1e-6)).all()
    assert ((present(found.rank) >= 1) & (present(found.rank) + present(found.ties) - 1 <= vocabulary)).all()
    assert (present(found.mass_above)[present(found.rank) == 1] == 0).all()
    pair = token_divergence(logits, other, divergences=TokenDivergence._fields)
    for values in pair:
        assert (present(values) >= 0).all()
    assert (present(pair.jsd) <= math.log(2) + 1e-6).all()


@given(seed=seeds)
@any_settings
def test_a_divergence_and_its_reverse(seed: int) -> None:
    p, q = random_logits(seed), random_logits(seed + 1)
    there, back = (token_divergence(*pair, divergences=TokenDivergence._fields) for pair in ((p, q), (q, p)))
    for left, right in ((there.kl, back.reverse_kl), (there.entropy, back.reference_entropy), (there.jsd, back.jsd)):
        torch.testing.assert_close(left, right, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(there.cross_entropy, present(there.kl) + present(there.entropy), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("vocabulary", [265, 5000, 50257])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_batch_invariant_rows_have_the_same_bits_anywhere(vocabulary: int, dtype: torch.dtype) -> None:
    logits = (4 * torch.randn(17, vocabulary, generator=torch.Generator().manual_seed(1))).to(dtype)
    target = torch.arange(17)
    together = token_stats(logits, target, batch_invariant=True)
    pair = token_divergence(logits, logits.flip(0), batch_invariant=True, divergences=TokenDivergence._fields)
    for rows in (slice(0, 1), slice(16, 17), slice(3, 11), slice(0, 17)):
        alone = token_stats(logits[rows], target[rows], batch_invariant=True)
        assert exact.same(alone, exact.picked(together, rows))
        alone_pair = token_divergence(
            logits[rows], logits.flip(0)[rows], batch_invariant=True, divergences=TokenDivergence._fields
        )
        assert exact.same(alone_pair, TokenDivergence(*(present(values)[rows] for values in pair)))


@pytest.mark.parametrize("elements", [1, 300, 3000])
def test_chunks_do_not_change_results(elements: int, monkeypatch: pytest.MonkeyPatch) -> None:
    logits, target = 4 * torch.randn(2, 25, 265), torch.randint(265, (2, 25))
    whole = token_stats(logits, target)
    monkeypatch.setattr(chunks, "chunk_elements", lambda total: elements)
    for name, values in token_stats(logits, target)._asdict().items():
        if name in NAMES:
            torch.testing.assert_close(values, getattr(whole, name), atol=1e-6, rtol=1e-6, msg=name)
