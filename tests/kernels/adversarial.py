"""Rows that break token statistics, and tensors with unusual memory layouts.

Random logits hide most faults. They lack ties, far-off peaks and masks, and have a peak in every block.
"""

from __future__ import annotations

import torch

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def distributions(vocabulary: int, block: int = 1024) -> dict[str, torch.Tensor]:
    """Rows [V] that have a distribution. `block` is the width of the blocks that alternate between +20 and -20."""
    generator = torch.Generator().manual_seed(vocabulary)
    noise = torch.randn(vocabulary, generator=generator)
    column = torch.arange(vocabulary)
    middle, half = vocabulary // 2, (vocabulary + 1) // 2
    rows = {
        "random": 4 * noise,
        "all equal": torch.full((vocabulary,), 3.0),
        "one far above": torch.where(column == middle, 1e4, 0.0),
        "one far below": torch.where(column == middle, -1e4, 0.0),
        "ramp": torch.linspace(-20, 20, vocabulary),
        "all at -200": torch.full((vocabulary,), -200.0),
        "tight around -500": -500 + 1e-3 * noise,
        "first half masked": torch.where(column < vocabulary - half, -torch.inf, noise),
        "second half masked": torch.where(column >= half, -torch.inf, noise),
        "all but the last masked": torch.where(column < vocabulary - 1, -torch.inf, 2.0),
        "offset of 1e4": 1e4 + noise,
        "offset of -1e4": -1e4 + noise,
        "offset of -110": -110 + noise,
        "ascending": (5 * noise).sort().values,
        "peaked": torch.where(column == vocabulary // 3, 3.0, -15.0),
        "blocks up and down": torch.where(column // block % 2 == 0, 20.0, -20.0) + noise,
        "two values": torch.where(noise > 0, 1.0, -1.0),
    }
    return rows


def stacked(
    vocabulary: int, dtype: torch.dtype, targets: int = 5, block: int = 1024
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits [T, V] and targets [T]. Every row has several targets, among them the last column and the argmax."""
    rows = torch.stack(list(distributions(vocabulary, block).values())).to(dtype)
    fixed = [torch.full((len(rows),), column) for column in (vocabulary - 1, vocabulary // 2, 0)]
    chosen = [fixed[0], rows.float().argmax(1), fixed[1], rows.float().argmin(1), fixed[2]][:targets]
    return rows.repeat(targets, 1), torch.cat(chosen)


def layouts(vocabulary: int, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Logits [..., V] as slices of larger tensors. Each has some rows."""
    generator = torch.Generator().manual_seed(vocabulary)

    def noise(*shape: int) -> torch.Tensor:
        return (4 * torch.randn(*shape, generator=generator)).to(dtype)

    v = vocabulary
    return {
        "packed": noise(3, v),
        "one row": noise(v),
        "padded rows": noise(3, v + 7)[:, :v],
        "rows padded to a multiple of 16": noise(3, (v + 31) // 16 * 16)[:, :v],
        "every other row": noise(6, v)[::2],
        "one row three times": noise(1, v).expand(3, v),
        "every other column": noise(3, 2 * v)[:, ::2],
        "from the third column": noise(3, v + 3)[:, 3:],
        "transposed": noise(v, 3).T,
        "without the last position": noise(2, 3, v)[:, :-1],
        "without the first position": noise(2, 3, v)[:, 1:],
        "three dimensions, padded": noise(2, 2, v + 5)[..., :v],
        "positions before sequences": noise(2, 3, v).transpose(0, 1),
        "four dimensions": noise(2, 1, 2, v),
        "four dimensions, permuted": noise(2, 2, 2, v).permute(2, 0, 1, 3),
    }


def targets_of(logits: torch.Tensor) -> torch.Tensor:
    generator = torch.Generator().manual_seed(logits.numel())
    return torch.randint(logits.shape[-1], logits.shape[:-1], generator=generator)
