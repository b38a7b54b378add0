"""`gain`: keeps the documents from which training gains most (SEAL, arXiv 2506.10943, whose outer loop keeps the best edits).

The writer takes a few steps of gradient descent on a document alone, as it would be trained on. The document's gain is the fall
of the writer's loss on human text that may be trained on, in nats a token; then the writer is what it was. A document that raises
this loss harms, and is rejected. In SEAL a model answers questions about the passage that it edited; here it reads human
documents, the same ones in every arm and generation, so that gains can be compared.
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
    kind: Literal["gain"] = Field("gain", description="which gate")
    keep: float = Field(0.5, gt=0.0, le=1.0, description="share of the samples that is kept, the greatest gains first")
    least: float = Field(0.0, description="gain below which nothing is kept, in nats a token; a harm is a gain below 0")
    human: Positive = Field(32, description="human documents that gain; they are read once for each sample")
    steps: Positive = Field(4, description="steps of gradient descent on each sample")
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
