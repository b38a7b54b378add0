"""Who is measured at a point."""

from __future__ import annotations

import torch

from kernel_bench.contenders import Entry, compiled, eager, ours, product
from kernel_bench.peers import PEERS
from kernel_bench.points import KernelPoint


def field(point: KernelPoint, device: torch.device) -> list[Entry]:
    """Implementations at a point, this repository's first. Absent ones carry their reason."""
    return [entry for maker in (ours, eager, product, compiled, *PEERS) for entry in maker(point, device)]
