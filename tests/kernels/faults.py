"""Faults of published kernels of this kind, each as a check for any backend."""

from __future__ import annotations

import math

import torch
from tests.present import present

from autophage_kernels import token_divergence, token_stats


def verl_padding_columns_counted_as_exp_0() -> None:
    """Columns behind the last were loaded as 0. Random logits hide this. Peaked ones were off by up to 123 nats."""
    logits = torch.full((1, 1536), -15.0)
    logits[0, 700] = 3.0
    found = token_stats(logits, torch.tensor([700]))
    torch.testing.assert_close(found.logprob, logits.double().log_softmax(1)[:, 700].float(), atol=1e-6, rtol=1e-6)


def verl_maximum_floored_at_0() -> None:
    """The merge started at 0 instead of -inf. From an offset of -110 on the result was inf or NaN."""
    logits = torch.randn(2, 600) - 110
    found = token_stats(logits, torch.tensor([0, 599]))
    truth = logits.double().log_softmax(1)
    torch.testing.assert_close(present(found.logprob).double(), truth[[0, 1], [0, 599]], atol=1e-5, rtol=1e-6)
    torch.testing.assert_close(present(found.entropy).double(), -(truth.exp() * truth).sum(1), atol=1e-5, rtol=1e-6)


def verl_ignored_label_read_memory_that_nobody_wrote() -> None:
    """A label of -100 gave whatever was in memory: +770 after 777."""
    for fill in (777.0, math.nan):
        junk = [torch.full((size,), fill) for size in (4, 40, 400, 4000)]
        del junk
        found = token_stats(torch.randn(4, 300), torch.tensor([-100, 0, -100, 1]))
        assert present(found.logprob)[[0, 2]].tolist() == [0, 0]
        assert present(found.mass_above)[[0, 2]].tolist() == [0, 0]
        assert present(found.rank)[[0, 2]].tolist() == [-1, -1]


def vllm_padding_outranked_a_masked_target() -> None:
    """Padding was -inf and counted as >= a target of -inf: rank 8192 of 3000."""
    logits = torch.randn(1, 300)
    logits[0, 100:] = -math.inf
    found = token_stats(logits, torch.tensor([299]))
    assert found.rank == 101
    assert found.ties == 200


def vllm_rank_of_a_nan_target_was_0() -> None:
    logits = torch.randn(1, 300)
    logits[0, 5] = math.nan
    assert token_stats(logits, torch.tensor([5])).rank == -1


def trl_masked_token_made_entropy_nan() -> None:
    """0 * -inf is NaN. The gradient stayed NaN even where the value had been repaired."""
    logits = torch.randn(2, 300)
    logits[:, 17] = -math.inf
    logits.requires_grad_()
    found = token_stats(logits, torch.tensor([0, 1]))
    assert present(found.entropy).isfinite().all()
    assert present(found.varentropy).isfinite().all()
    (gradient,) = torch.autograd.grad(present(found.entropy).sum() + present(found.varentropy).sum(), logits)
    assert gradient.isfinite().all()


def a_leading_block_of_masked_tokens_poisoned_the_sum() -> None:
    """exp(-inf - -inf) is NaN. TRL, axolotl and prime-rl have this fault."""
    logits = torch.randn(1, 600)
    logits[0, :512] = -math.inf
    found = token_stats(logits, torch.tensor([599]))
    torch.testing.assert_close(present(found.lse).double(), logits.double().logsumexp(1), atol=1e-6, rtol=1e-6)


def moments_about_0_lost_varentropy_to_an_offset() -> None:
    """Raw moments at an offset of 1e4: varentropy wrong by 15 where it is 1."""
    logits = torch.randn(1, 600).mul(256).round().div(256)
    plain = token_stats(logits)
    for offset in (8192.0, -8192.0):
        moved = token_stats((logits + offset).clone())
        torch.testing.assert_close(moved.varentropy, plain.varentropy, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(moved.entropy, plain.entropy, atol=1e-5, rtol=1e-5)


def liger_entropy_was_rounded_to_bfloat16() -> None:
    """Spacing 0.03 at 5 nats; and a loss buffer in the type of the logits."""
    logits = torch.randn(3, 300).bfloat16()
    found = token_stats(logits, torch.tensor([0, 1, 2]))
    log_p = logits.double().log_softmax(1)
    assert present(found.entropy).dtype == present(found.logprob).dtype == torch.float32
    torch.testing.assert_close(present(found.entropy).double(), -(log_p.exp() * log_p).sum(1), atol=1e-5, rtol=1e-6)


def liger_true_class_gradient_came_of_a_rounded_probability() -> None:
    """A p that bfloat16 rounds to 1 gives p - 1 = 0. The true gradient is not 0 and fits into bfloat16."""
    logits = torch.zeros(1, 300).bfloat16()
    logits[0, 7] = 14.0
    logits.requires_grad_()
    (gradient,) = torch.autograd.grad(present(token_stats(logits, torch.tensor([7])).logprob).sum(), logits)
    truth = 1 - logits.detach().double().softmax(1)[0, 7]
    assert 0 < truth < 2**-9
    torch.testing.assert_close(gradient[0, 7].double(), truth, atol=0, rtol=2**-7)


def ranks_were_counted_after_rounding() -> None:
    """A softcap maps large logits to one number: ranks compare what was given."""
    logits = torch.tensor([[200.0, 300.0, 250.0, 0.0]])
    found = token_stats(logits, torch.tensor([0]), softcap=5.0)
    assert found.rank == 3
    assert found.ties == 1
    assert found.argmax == 1


def a_masked_token_made_divergences_nan() -> None:
    logits, reference = torch.randn(2, 300), torch.randn(2, 300)
    logits[:, :20] = -math.inf
    reference[0, :20] = -math.inf
    found = token_divergence(logits, reference, divergences=("kl", "reverse_kl", "jsd"))
    assert present(found.kl).isfinite().all()
    assert present(found.jsd).isfinite().all()
    assert present(found.reverse_kl).isinf().tolist() == [False, True]


def rows_beyond_the_65535th() -> None:
    """The second axis of a grid ends there."""
    logits = torch.zeros(65_537, 2)
    logits[-1, 1] = 1.0
    assert present(token_stats(logits, statistics=["argmax"]).argmax)[-1] == 1


EVERYWHERE = (
    verl_padding_columns_counted_as_exp_0,
    verl_maximum_floored_at_0,
    verl_ignored_label_read_memory_that_nobody_wrote,
    vllm_padding_outranked_a_masked_target,
    vllm_rank_of_a_nan_target_was_0,
    trl_masked_token_made_entropy_nan,
    a_leading_block_of_masked_tokens_poisoned_the_sum,
    moments_about_0_lost_varentropy_to_an_offset,
    liger_entropy_was_rounded_to_bfloat16,
    liger_true_class_gradient_came_of_a_rounded_probability,
    ranks_were_counted_after_rounding,
    a_masked_token_made_divergences_nan,
)
