"""`gain`: keeps the documents with the largest training gain (the outer loop of SEAL, arXiv 2506.10943).

The writer takes a few gradient steps on one document, in the form of its training row. The gain is the fall of the
writer's loss on human training text, in nats per token. The writer's weights are then restored. A document that
raises this loss is harmful and is rejected. In SEAL a model answers questions about the passage that it edited. Here
it reads human documents. They are the same in every arm and generation, so gains are comparable.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from autophage.data.mix import TrainingRow, written_row
from autophage.gates.protocol import Context, Gate, Verdict, abstain, accept, greatest, reject, require_finite
from autophage.recipe.tables.table import Positive
from autophage.store.corpus import Sample

HARMS, LITTLE, LESS = "harms", "gains too little", "gains less than others"


class Gain(Gate):
    """Gate `gain` with its settings. It keeps samples from which the writer learns most about human text."""

    kind: Literal["gain"] = Field("gain", description="name of the gate")
    keep: float = Field(0.5, gt=0.0, le=1.0, description="share of the samples that is kept, largest gains first")
    least: float = Field(0.0, description="minimum gain in nats per token; a document with a negative gain is harmful")
    human: Positive = Field(32, description="human documents that measure the gain, each read once per sample")
    steps: Positive = Field(4, description="gradient steps on each sample")
    rate: float = Field(0.1, gt=0.0, description="learning rate of these steps")

    @property
    def gradient_steps(self) -> int:
        return self.steps

    @property
    def human_passes(self) -> int:
        return self.human

    def judge(self, samples: Sequence[Sample], context: Context) -> list[Verdict]:
        written = [place for place, sample in enumerate(samples) if sample.token_ids]
        values = self._gains([samples[place] for place in written], context) if written else []
        known = dict(zip(written, values, strict=True))
        gains = [known.get(place) for place in range(len(samples))]
        best = greatest(gains, self.keep)
        return [self._verdict(gain, place in best) for place, gain in enumerate(gains)]

    def _verdict(self, gain: float | None, is_best: bool) -> Verdict:
        if gain is None:
            return abstain("no tokens")
        if gain < self.least:
            return reject(HARMS if gain < 0 else LITTLE)
        return accept() if is_best else reject(LESS)

    def _gains(self, samples: Sequence[Sample], context: Context) -> list[float]:
        start = context.source.start_ids
        rows = [written_row(start, sample, context.recipe) for sample in samples]
        held = [TrainingRow([*start, *ids], len(start)) for ids in context.source.reference(self.human)]
        gains = context.gains(rows, held, self.steps, self.rate)
        require_finite(gains, samples, "gain", "Lower gate.rate.")
        return gains
