"""Pairs of rows for the tests of divergences."""

from __future__ import annotations

import itertools
import math

import torch
from tests.kernels.adversarial import distributions

from autophage_kernels import TokenDivergence, token_divergence


def crossed(vocabulary: int, dtype: torch.dtype, block: int = 1024) -> tuple[torch.Tensor, torch.Tensor]:
    """Every adversarial row with every row, [N^2, V] twice."""
    rows = torch.stack(list(distributions(vocabulary, block).values())).to(dtype)
    pairs = list(itertools.product(range(len(rows)), repeat=2))
    first, second = torch.tensor(pairs).T
    return rows[first], rows[second]


def check_undefined(vocabulary: int = 300) -> None:
    """Rows of -inf, +inf or NaN on either side give NaN in every field. Other rows are unaffected."""
    sound = torch.randn(vocabulary, generator=torch.Generator().manual_seed(3))
    all_masked = torch.full((vocabulary,), -math.inf)
    broken = [all_masked]
    for value, column in ((math.inf, 0), (math.inf, vocabulary - 1), (math.nan, 0), (math.nan, vocabulary - 1)):
        row = sound.clone()
        row[column] = value
        broken.append(row)
    for row in broken:
        for p, q in ((row, sound), (sound, row), (row, row)):
            p_TV, q_TV = torch.stack([sound, p, sound]), torch.stack([sound.flip(0), q, sound.flip(0)])
            found = token_divergence(p_TV, q_TV, divergences=TokenDivergence._fields)
            for name, values in found._asdict().items():
                alone = {"entropy": p, "reference_entropy": q}.get(name)
                if alone is None or not alone.isfinite().all():
                    assert values[1].isnan(), name
                assert values[0].isfinite(), name
                assert values[0] == values[2], name
