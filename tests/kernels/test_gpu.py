"""Tests on a CUDA device: full-size cases and GPU-only behaviour.

The latter are graph capture, host synchronisation, addresses beyond 2^31 elements, peak memory, and agreement of the backends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from tests.kernels import exact, faults
from tests.kernels.adversarial import DTYPES, layouts, stacked, targets_of
from tests.present import present

from autophage_kernels import (
    TokenDivergence,
    backend,
    backend_in_use,
    linear_token_divergence,
    linear_token_stats,
    reference,
    token_divergence,
    token_stats,
    triton_kernels,
)
from autophage_kernels.statistics import chosen

pytestmark = pytest.mark.gpu
DIVERGENCES = TokenDivergence._fields
DIFFERENTIABLE = ("logprob", "lse", "entropy", "varentropy")


@pytest.fixture(autouse=True)
def _on_the_gpu() -> Iterator[None]:
    backend._choose.cache_clear()
    assert backend_in_use() == "triton"
    with torch.device("cuda"):
        yield


def random(*shape: int, dtype: torch.dtype = torch.bfloat16, scale: float = 4.0) -> torch.Tensor:
    return (scale * torch.randn(*shape, generator=torch.Generator("cuda").manual_seed(0))).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("vocabulary", [1, 2, 1023, 1024, 1025, 2053, 32000, 50257, 128256, 151936, 256000])
def test_every_statistic_of_every_row(vocabulary: int, dtype: torch.dtype) -> None:
    with torch.device("cpu"):
        logits, target = stacked(vocabulary, dtype, targets=5 if vocabulary < 60_000 else 1, block=2048)
    logits, target = logits.cuda(), target.cuda()
    exact.check(token_stats(logits, target), exact.statistics, logits, target)
    exact.check(token_stats(logits, target, batch_invariant=True), exact.statistics, logits, target)
    for rows in (slice(0, 1), slice(3, 6)):  # few rows are split
        exact.check(token_stats(logits[rows], target[rows]), exact.statistics, logits[rows], target[rows])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("vocabulary", [1025, 50257, 128256])
def test_every_row_with_others(vocabulary: int, dtype: torch.dtype) -> None:
    with torch.device("cpu"):
        rows, _ = stacked(vocabulary, dtype, targets=1)
    p = rows.cuda()
    for turn in (1, 5):
        q = p.roll(turn, 0)
        exact.check(token_divergence(p, q, divergences=DIVERGENCES), exact.divergences, p, q)


@pytest.mark.parametrize("layout", list(layouts(2, torch.float32)))
@pytest.mark.parametrize("vocabulary", [1031, 32768])
def test_any_layout(vocabulary: int, layout: str) -> None:
    with torch.device("cpu"):
        on_host = layouts(vocabulary, torch.bfloat16)[layout]
        target = targets_of(on_host).cuda()
    memory = on_host.as_strided((on_host.untyped_storage().nbytes() // on_host.element_size(),), (1,), 0).cuda()
    logits = memory.as_strided(on_host.shape, on_host.stride(), on_host.storage_offset())
    exact.check(token_stats(logits, target), exact.statistics, logits, target)
    exact.check(token_divergence(logits, logits.flip(-1)), exact.divergences, logits, logits.flip(-1))


@pytest.mark.parametrize(
    "fault", [*faults.EVERYWHERE, faults.rows_beyond_the_65535th], ids=lambda fault: fault.__name__
)
def test_does_not_have_the_faults_of_others(fault: Callable[[], None]) -> None:
    fault()


@pytest.mark.parametrize("rows", [1, 3, 64, 4096])
def test_backends_agree(rows: int) -> None:
    logits, target = random(rows, 50257), torch.arange(rows) * 7
    bits = chosen(None, with_target=True)
    results = []
    for serving in (reference, triton_kernels):
        partial = serving.partial_stats(logits[None], target, None, None, 0.0, 0, bits, False)
        results.append(serving.merge_stats(partial, target, None, 0.0, -100, 50257, bits))
    torch.testing.assert_close(results[0][0], results[1][0], atol=2e-5, rtol=1e-5)
    assert torch.equal(results[0][1], results[1][1])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_gradients(dtype: torch.dtype) -> None:
    """Each operation is checked alone. Two results rounded to 16 bits may cancel in a sum."""
    logits, target = random(9, 50257, dtype=dtype).requires_grad_(), torch.arange(9)
    other, exact_logits = logits.detach().flip(0).contiguous(), logits.detach().double().requires_grad_()
    stats, pair = token_stats(logits, target), token_divergence(logits, other, divergences=DIVERGENCES)
    true_stats = exact.statistics(exact_logits, target, torch.float64)
    true_pair = exact.divergences(exact_logits, other, torch.float64)
    for found, truth, names in ((stats, true_stats, DIFFERENTIABLE), (pair, true_pair, ("kl", "reverse_kl", "jsd"))):
        for name in names:
            (gradient,) = torch.autograd.grad(getattr(found, name).sum(), logits, retain_graph=True)
            (expected,) = torch.autograd.grad(truth[name].sum(), exact_logits, retain_graph=True)
            torch.testing.assert_close(
                gradient.double(), expected, atol=2e-5, rtol=2 * torch.finfo(dtype).eps, msg=name
            )


def everything(
    logits: torch.Tensor, target: torch.Tensor, hidden: torch.Tensor, weight: torch.Tensor
) -> list[torch.Tensor]:
    temperature = torch.full((logits.shape[0],), 0.7)
    fields = [
        *token_stats(logits, target, temperature=temperature, softcap=30.0),
        *token_divergence(logits, logits.roll(1, 0), divergences=DIVERGENCES),
        *linear_token_stats(hidden, weight, target),
        *linear_token_divergence(hidden, weight, hidden.roll(1, 0), weight, divergences=DIVERGENCES),
    ]
    return [values for values in fields if values is not None]


def test_no_operation_waits_for_the_gpu() -> None:
    logits, target, hidden, weight = random(70, 50257), torch.arange(70), random(70, 256), random(50257, 256, scale=0.1)
    logits.requires_grad_()
    hidden.requires_grad_()
    everything(logits, target, hidden, weight)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        results = everything(logits, target, hidden, weight)
        total: Any = sum(values.sum() for values in results if values.requires_grad)
        total.backward()
        token_stats(logits, target, temperature=0.7)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_captured_in_a_graph_and_replayed_on_other_logits() -> None:
    logits, target, hidden, weight = random(70, 50257), torch.arange(70), random(70, 256), random(50257, 256, scale=0.1)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(2):
            everything(logits, target, hidden, weight)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = everything(logits, target, hidden, weight)
    logits.copy_(logits.flip(0) * 0.5)
    hidden.copy_(hidden.flip(0))
    target.copy_(target.flip(0) + 11)
    graph.replay()
    for found, expected in zip(captured, everything(logits, target, hidden, weight), strict=True):
        assert torch.equal(found, expected)


def test_offsets_beyond_2_to_the_31() -> None:
    """16,000 rows of 151,936 are 2.4e9 logits and 4.9 GB. The last rows must equal the same rows alone."""
    rows, vocabulary = 16_000, 151_936
    if torch.cuda.mem_get_info()[0] < 20e9:
        pytest.skip("needs 20 GB of GPU memory")
    logits = torch.empty(rows, vocabulary, dtype=torch.bfloat16).normal_(std=4)
    target = torch.arange(rows)
    found = token_stats(logits, target)
    last = slice(rows - 3, rows)
    exact.check(exact.picked(found, last), exact.statistics, logits[last], target[last])
    pair = token_divergence(logits[-1:], logits[-2:-1])
    exact.check(pair, exact.divergences, logits[-1:], logits[-2:-1])
    logits.requires_grad_()
    present(token_stats(logits, target, statistics=["logprob"]).logprob).sum().backward()
    alone = logits.detach()[last].clone().requires_grad_()
    present(token_stats(alone, target[last], statistics=["logprob"]).logprob).sum().backward()
    torch.testing.assert_close(present(logits.grad)[last], alone.grad)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(("rows", "vocabulary"), [(5, 1000), (300, 50257), (2500, 32000)])
def test_fused_head_against_float32_logits(rows: int, vocabulary: int, dtype: torch.dtype) -> None:
    hidden, weight = random(rows, 512, dtype=dtype, scale=1.0), random(vocabulary, 512, dtype=dtype, scale=4 / 512**0.5)
    target = torch.randint(vocabulary, (rows,))
    logits = hidden.double() @ weight.double().T
    expected = token_stats(logits.float(), target)
    found = linear_token_stats(hidden, weight, target)
    for name in ("logprob", "entropy", "varentropy", "lse", "max_prob", "mass_above"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), atol=5e-5, rtol=1e-5, msg=name)
    # A rank may differ where another logit is nearer to the target's than a float32 product is exact.
    own = logits.gather(1, target[:, None])
    near = ((logits - own).abs() < 1e-4).sum(1) - 1
    assert ((present(found.rank) - present(expected.rank)).abs() <= near).all()
    assert (present(found.rank) == present(expected.rank)).float().mean() > 0.5
    best = linear_token_stats(hidden, weight, found.argmax)
    assert (present(best.rank) == 1).all()
    assert (present(best.mass_above) == 0).all()


def test_fused_head_needs_little_memory() -> None:
    rows, vocabulary, hidden_size = 8192, 128256, 1024
    hidden = random(rows, hidden_size, scale=1.0).requires_grad_()
    weight = random(vocabulary, hidden_size, scale=0.1)
    target = torch.arange(rows)

    def peak(work: Callable[[], object]) -> int:
        work()
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before

    def with_backward() -> None:
        hidden.grad = None
        present(linear_token_stats(hidden, weight, target, statistics=["logprob", "entropy"]).logprob).sum().backward()

    with torch.no_grad():
        forward = peak(lambda: linear_token_stats(hidden, weight, target))
    assert (
        forward < 128 << 20
    )  # a tile of 32 MiB, a tile's width of gathered weight, partial results: of 2.1 GB of logits
    assert peak(with_backward) < 256 << 20


@pytest.mark.parametrize("vocabulary", [50257, 128256])
def test_batch_invariant_rows_have_the_same_bits_anywhere(vocabulary: int) -> None:
    logits, target = random(700, vocabulary), torch.arange(700)
    together = token_stats(logits, target, batch_invariant=True)
    pair = token_divergence(logits, logits.flip(0), batch_invariant=True, divergences=DIVERGENCES)
    for rows in (slice(0, 1), slice(699, 700), slice(3, 70)):
        alone = token_stats(logits[rows], target[rows], batch_invariant=True)
        assert exact.same(alone, exact.picked(together, rows))
        alone_pair = token_divergence(logits[rows], logits.flip(0)[rows], batch_invariant=True, divergences=DIVERGENCES)
        assert exact.same(alone_pair, TokenDivergence(*(present(values)[rows] for values in pair)))


def test_the_same_bits_twice() -> None:
    logits, target = random(70, 50257), torch.arange(70)
    assert exact.same(token_stats(logits, target), token_stats(logits, target))


def test_compiled() -> None:
    logits, target = random(70, 50257, dtype=torch.float32).requires_grad_(), torch.arange(70)

    def total(x: torch.Tensor) -> torch.Tensor:
        found: Any = token_stats(x, target)
        value: torch.Tensor = (found.logprob + found.entropy).sum() + found.rank.sum()
        return value

    expected = torch.autograd.grad(total(logits), logits)[0]
    found = torch.autograd.grad(torch.compile(total, fullgraph=True, dynamic=True)(logits), logits)[0]
    torch.testing.assert_close(found, expected)
