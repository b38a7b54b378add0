"""Definitions in plain torch at any precision, and the rule for comparing results with them.

No tolerance is chosen by hand. Truth is float64 on the given logits, which is exact for bfloat16. The yardstick is the
textbook formula in float32. A result may deviate from truth as far as the yardstick does, plus 1e-5, plus half a unit in the
last place. That unit is the rounding of a float32 output. It matters only above 80.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch

SLACK = 1e-5
ULP = torch.finfo(torch.float32).eps
INTEGERS = ("rank", "ties", "argmax")


def transformed(
    logits: torch.Tensor, dtype: torch.dtype, temperature: float | torch.Tensor | None, softcap: float | None
) -> torch.Tensor:
    z = logits.to(dtype)
    if softcap is not None:
        z = softcap * torch.tanh(z / softcap)
    if temperature is None:
        return z
    # Temperatures are float32 in the library: what is divided by is that number in every precision.
    if isinstance(temperature, torch.Tensor):
        heat = temperature.float().to(dtype)
        return z / (heat.unsqueeze(-1) if heat.numel() > 1 else heat)
    return z / torch.tensor(temperature, dtype=torch.float32).to(dtype)


def statistics(
    logits: torch.Tensor,
    target: torch.Tensor | None,
    dtype: torch.dtype,
    temperature: float | torch.Tensor | None = None,
    softcap: float | None = None,
) -> dict[str, torch.Tensor]:
    """All statistics of one pass. Rows must have a distribution and targets must be tokens."""
    z = transformed(logits, dtype, temperature, softcap)
    lse = z.logsumexp(-1)
    log_p = z - lse.unsqueeze(-1)
    p = log_p.exp()
    surprisal = torch.where(p > 0, -log_p, torch.zeros_like(log_p))
    entropy = (p * surprisal).sum(-1)
    found = {
        "lse": lse,
        "entropy": entropy,
        "varentropy": (p * (surprisal - entropy.unsqueeze(-1)).square()).sum(-1),
        "max_prob": p.max(-1).values,
        "renyi2": -p.square().sum(-1).log(),
        "argmax": (logits == logits.max(-1, keepdim=True).values).int().argmax(-1),
    }
    if target is not None:
        index = target.unsqueeze(-1)
        own = logits.gather(-1, index)
        found |= {
            "logprob": log_p.gather(-1, index).squeeze(-1),
            "rank": (logits > own).sum(-1) + 1,
            "ties": (logits == own).sum(-1),
            "mass_above": (p * (logits > own)).sum(-1),
        }
    return found


def divergences(
    logits: torch.Tensor,
    reference: torch.Tensor,
    dtype: torch.dtype,
    temperature: float | torch.Tensor | None = None,
    softcap: float | None = None,
) -> dict[str, torch.Tensor]:
    """Every field of `TokenDivergence`, for rows that both have a distribution."""
    log_p = transformed(logits, dtype, temperature, softcap).log_softmax(-1)
    log_q = transformed(reference, dtype, temperature, softcap).log_softmax(-1)
    log_m = torch.logaddexp(log_p, log_q) - math.log(2)

    def expected(weight: torch.Tensor, log_a: torch.Tensor, log_b: torch.Tensor | None = None) -> torch.Tensor:
        values = log_a if log_b is None else log_a - log_b
        # Where exp underflows the probability is still not 0, and an infinite value counts.
        terms = torch.where(values.isinf(), values, weight.exp() * values)
        return torch.where(weight > -torch.inf, terms, 0.0).sum(-1)

    return {
        "kl": expected(log_p, log_p, log_q),
        "reverse_kl": expected(log_q, log_q, log_p),
        "cross_entropy": -expected(log_p, log_q),
        "entropy": -expected(log_p, log_p),
        "reference_entropy": -expected(log_q, log_q),
        "jsd": (expected(log_p, log_p, log_m) + expected(log_q, log_q, log_m)) / 2,
    }


def check(
    found: Any, definition: Callable[..., dict[str, torch.Tensor]], *inputs: torch.Tensor | None, **transform: Any
) -> None:
    """Compare every field of `found` that is not None with the definition of that name.

    Rounding allows three units in the last place for divergences and two for other values with a temperature. A divergence is
    a mean of differences of differences. A logit over a temperature is a product of rounded numbers.
    """
    ulps = 3.0 if definition is divergences else 2.0 if transform else 0.5
    truth = definition(*inputs, torch.float64, **transform)
    yardstick = definition(*inputs, torch.float32, **transform)
    for name, values in found._asdict().items():
        if values is None:
            continue
        if name in INTEGERS:
            assert values.dtype == torch.int64
            assert torch.equal(values, truth[name]), (
                f"{name}: {_first_difference(values != truth[name], values, truth[name])}"
            )
        else:
            check_close(values, truth[name], yardstick[name], name, ulps)


def check_close(
    found: torch.Tensor, truth: torch.Tensor, yardstick: torch.Tensor, name: str, ulps: float = 0.5
) -> None:
    assert found.shape == truth.shape, name
    too_far = excess(found, truth, yardstick, ulps) > 0
    assert not too_far.any(), f"{name}: {_first_difference(too_far, found, truth)}"
    if name == "logprob":
        assert not (found > 0).any()


def excess(found: torch.Tensor, truth: torch.Tensor, yardstick: torch.Tensor, ulps: float = 0.5) -> torch.Tensor:
    """Excess of the error over the allowed error. A NaN in the yardstick allows nothing. A NaN in `found` must be true."""
    rounding = ulps * ULP * truth.abs().nan_to_num(posinf=0.0)
    allowed = _distance(yardstick, truth).nan_to_num(nan=0.0, posinf=0.0) + rounding + SLACK
    return (_distance(found, truth) - allowed).nan_to_num(nan=torch.inf)


def _distance(values: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    same = (values.double() == truth) | (values.isnan() & truth.isnan())
    return torch.where(same, 0.0, (values.double() - truth).abs())


def _first_difference(where: torch.Tensor, found: torch.Tensor, truth: torch.Tensor) -> str:
    place = tuple(where.nonzero()[0].tolist())
    return f"row {place}: {found[place].item()!r}, truth {truth[place].item()!r}; {int(where.sum())} of {where.numel()} rows"


def picked(found: Any, rows: slice) -> Any:
    """Some rows of every field that is not None."""
    return type(found)(*(None if values is None else values[rows] for values in found))


def same(a: Any, b: Any, names: Iterable[str] | None = None) -> bool:
    """The same bits in every field that both have (NaN equals NaN)."""
    for name in names or a._fields:
        left, right = getattr(a, name), getattr(b, name)
        if (
            left is not None
            and right is not None
            and not torch.equal(left.nan_to_num(nan=7e7), right.nan_to_num(nan=7e7))
        ):
            return False
    return True
