"""Refused arguments. The message names what was given."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from tests.present import present

from autophage_kernels import (
    linear_token_divergence,
    linear_token_stats,
    token_divergence,
    token_stats,
)
from autophage_kernels.statistics import NAMES

LOGITS, TARGET = torch.zeros(4, 9), torch.zeros(4, dtype=torch.long)
HIDDEN, WEIGHT = torch.zeros(4, 5), torch.zeros(9, 5)


def on_another_device(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to("meta")


REFUSED: dict[str, tuple[Callable[[], object], list[str]]] = {
    "too few targets": (lambda: token_stats(LOGITS, TARGET[:3]), ["(4, 9)", "(3,)"]),
    "targets of another rank": (lambda: token_stats(LOGITS, TARGET[:, None]), ["(4, 9)", "(4, 1)"]),
    "one row, a list of targets": (lambda: token_stats(LOGITS[0], TARGET), ["(9,)", "(4,)"]),
    "no vocabulary": (lambda: token_stats(torch.zeros(4, 0), TARGET), ["(4, 0)", "(4,)"]),
    "no dimension": (lambda: token_stats(torch.tensor(1.0)), ["logits ()"]),
    "too large a vocabulary": (
        lambda: token_stats(torch.empty(1, (1 << 24) + 1, device="meta")),
        ["16777216", "(1, 16777217)"],
    ),
    "integer logits": (lambda: token_stats(LOGITS.long(), TARGET), ["int64", "(4, 9)", "(4,)"]),
    "bool target": (lambda: token_stats(LOGITS, TARGET.bool()), ["bool", "(4, 9)", "(4,)"]),
    "float target": (lambda: token_stats(LOGITS, TARGET.float()), ["float32", "(4, 9)", "(4,)"]),
    "target elsewhere": (lambda: token_stats(LOGITS, on_another_device(TARGET)), ["meta", "cpu", "(4, 9)", "(4,)"]),
    "temperature 0": (lambda: token_stats(LOGITS, temperature=0), ["temperature above 0", "got 0"]),
    "negative temperature": (lambda: token_stats(LOGITS, temperature=-1.5), ["-1.5"]),
    "temperature that is no number": (lambda: token_stats(LOGITS, temperature=float("nan")), ["nan"]),
    "temperatures for other rows": (lambda: token_stats(LOGITS, temperature=torch.ones(3)), ["(4,)", "(3,)"]),
    "temperature elsewhere": (lambda: token_stats(LOGITS, temperature=torch.ones(4, device="meta")), ["meta", "cpu"]),
    "softcap 0": (lambda: token_stats(LOGITS, softcap=0.0), ["softcap above 0", "got 0.0"]),
    "unknown statistic": (
        lambda: token_stats(LOGITS, statistics=["entropy", "perplexity"]),
        ["perplexity", "varentropy"],
    ),
    "no statistic": (lambda: token_stats(LOGITS, statistics=[]), ["none"]),
    "rank without a target": (lambda: token_stats(LOGITS, statistics=["rank", "entropy"]), ["rank", "target is None"]),
    "two shapes": (lambda: token_divergence(LOGITS, LOGITS[:, :8]), ["(4, 9)", "(4, 8)"]),
    "two types": (lambda: token_divergence(LOGITS, LOGITS.half()), ["float32", "float16", "(4, 9)"]),
    "two devices": (lambda: token_divergence(LOGITS, on_another_device(LOGITS)), ["meta", "cpu"]),
    "unknown divergence": (lambda: token_divergence(LOGITS, LOGITS, divergences=["tv"]), ["tv", "jsd"]),
    "no divergence": (lambda: token_divergence(LOGITS, LOGITS, divergences=[]), ["none"]),
    "two hidden sizes": (lambda: linear_token_stats(HIDDEN, WEIGHT[:, :4]), ["(4, 5)", "(9, 4)"]),
    "no hidden size": (lambda: linear_token_stats(HIDDEN[:, :0], WEIGHT[:, :0]), ["(4, 0)", "(9, 0)"]),
    "a head without tokens": (lambda: linear_token_stats(HIDDEN, WEIGHT[:0]), ["(4, 5)", "(0, 5)"]),
    "a bias of another size": (lambda: linear_token_stats(HIDDEN, WEIGHT, None, torch.zeros(8)), ["(9, 5)", "(8,)"]),
    "a head of another type": (lambda: linear_token_stats(HIDDEN, WEIGHT.half()), ["float16", "float32", "(9, 5)"]),
    "an integer head": (lambda: linear_token_stats(HIDDEN.long(), WEIGHT.long()), ["int64", "(4, 5)"]),
    "targets for a head": (lambda: linear_token_stats(HIDDEN, WEIGHT, TARGET[:2]), ["(4, 5)", "(9, 5)", "(2,)"]),
    "a head elsewhere": (lambda: linear_token_stats(HIDDEN, on_another_device(WEIGHT)), ["meta", "cpu"]),
    "two vocabularies": (
        lambda: linear_token_divergence(HIDDEN, WEIGHT, HIDDEN, WEIGHT[:8]),
        ["(4, 5)", "(9, 5)", "(8, 5)"],
    ),
    "two numbers of rows": (lambda: linear_token_divergence(HIDDEN, WEIGHT, HIDDEN[:3], WEIGHT), ["(4, 5)", "(3, 5)"]),
    "two types of heads": (
        lambda: linear_token_divergence(HIDDEN, WEIGHT, HIDDEN.half(), WEIGHT.half()),
        ["float32", "float16"],
    ),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_a_refusal_names_what_was_given(case: str) -> None:
    call, named = REFUSED[case]
    with pytest.raises(ValueError, match=r"\w") as refusal:
        call()
    for what in named:
        assert re.search(re.escape(what), str(refusal.value)), f"{what} is not in {str(refusal.value)!r}"


def test_no_rows_make_empty_results() -> None:
    for shape in ((0, 9), (2, 0, 9), (0, 2, 9), (2, 0, 3, 9)):
        logits = torch.empty(shape, requires_grad=True)
        found = token_stats(logits, torch.empty(shape[:-1], dtype=torch.long))
        assert all(getattr(found, name).shape == shape[:-1] for name in NAMES)
        present(found.entropy).sum().backward()
        assert present(logits.grad).shape == shape
    hidden, weight = torch.empty(0, 5, requires_grad=True), torch.randn(9, 5, requires_grad=True)
    found = linear_token_stats(hidden, weight, torch.empty(0, dtype=torch.long))
    assert all(getattr(found, name).shape == (0,) for name in NAMES)
    present(found.logprob).sum().backward()
    assert present(hidden.grad).shape == (0, 5)
    assert (present(weight.grad) == 0).all()
    pair = linear_token_divergence(hidden, weight, hidden, weight)
    assert present(pair.kl).shape == (0,)
