"""The speed of light of sampling and training: the time of a model's matrix products alone on the machine of a run.

    sampling   n / r * (t(r) + h(r)) + t(p) + h(d)    n tokens that decoding steps write, r documents of a step
                                                      p prompt tokens, d documents: each has its first token after its prompt
    training   k * (t(m) + h(l))                      m tokens of the rows, l of them with loss
                                                      k = 2 for an adapter (forward, gradient of the inputs), else 3

t and h are seconds of one pass of that many tokens through the layers and through the LM head. `trainer.calibration` measures a
few points of both when a run starts. Attention, norms, sampling and statistics are not counted. The share of light is this time
over the measured one. It tells how much faster the same model could be on the same machine at best.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

TimedPass = tuple[int, float]
"""Tokens of a pass, and its seconds."""


class SampledTokens(NamedTuple):
    """The tokens of one call of a sampler, over all its models."""

    documents: int
    prompted: int
    """Tokens of the prompts."""
    written: int


@dataclass(frozen=True)
class Light:
    """Seconds of a model's matrix products by the tokens of a pass, in ascending order of tokens."""

    layers: tuple[TimedPass, ...]
    head: tuple[TimedPass, ...]
    concurrency: int
    """Documents that a decoding step computes at most."""
    seconds: float = 0.0
    """Duration of the calibration."""

    def sampling(self, batch: SampledTokens) -> float:
        """Return the least seconds of a batch."""
        rows = max(1, min(self.concurrency, batch.documents))
        steps = max(0, batch.written - batch.documents) / rows
        decoding = steps * (seconds_of(self.layers, rows) + seconds_of(self.head, rows))
        return decoding + seconds_of(self.layers, batch.prompted) + seconds_of(self.head, batch.documents)

    def training(self, read: int, trained: int, *, full: bool) -> float:
        """Return the least seconds of a training on rows of `read` tokens, of which `trained` carry loss."""
        return (3 if full else 2) * (seconds_of(self.layers, read) + seconds_of(self.head, trained))

    def facts(self) -> dict[str, Any]:
        return asdict(self)


def seconds_of(points: Sequence[TimedPass], tokens: int) -> float:
    """Return the seconds of a pass of `tokens` tokens, between and beyond measured points.

    Few tokens take as long as the first point, as the weights are read all the same. Many tokens pass at the best rate.
    """
    if not points or tokens <= 0:
        return 0.0
    first, last = points[0], points[-1]
    if tokens <= first[0]:
        return first[1]
    if tokens >= last[0]:
        return tokens * min(seconds / rows for rows, seconds in points)
    (low, below), (high, above) = next((one, other) for one, other in itertools.pairwise(points) if tokens <= other[0])
    return below + (above - below) * (tokens - low) / (high - low)
