"""`surprise`: keeps the documents that surprise the model most (Learning by Surprise, arXiv 2410.12341).

The surprise of a document is its mean negative log-prob per token in nats, the logarithm of its perplexity. The
writer's log-probs were recorded during sampling, so the default needs no forward pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from autophage.gates.by_model import ByModel
from autophage.gates.protocol import BASE, WRITER, Context, Verdict, abstain, accept, greatest, reject, require_finite
from autophage.metrics.scored import FLOOR
from autophage.recipe.tables.table import PathText
from autophage.store.corpus import Sample


class Surprise(ByModel):
    """Gate `surprise` with its settings. It keeps the samples with the highest perplexity under a model."""

    kind: Literal["surprise"] = Field("surprise", description="name of the gate")
    keep: float = Field(0.5, gt=0.0, le=1.0, description="share of the samples that is kept, most surprising first")
    under: Literal["writer", "base"] = Field(
        "writer", description="the surprised model: the writer of the samples, or model 0"
    )
    model: PathText | None = Field(
        None, description="folder or hub id of another causal language model; replaces `under`"
    )

    @property
    def passes(self) -> int:
        return int(self.model is not None or self.under == BASE)

    def judge(self, samples: Sequence[Sample], context: Context) -> list[Verdict]:
        values = surprisals(samples, context, self.model or self.under)
        kept = greatest(values, self.keep)
        verdicts = []
        for place, value in enumerate(values):
            if value is None:
                verdicts.append(abstain("no tokens"))
            else:
                verdicts.append(accept() if place in kept else reject("unsurprising"))
        return verdicts


def surprisals(samples: Sequence[Sample], context: Context, under: str) -> list[float | None]:
    """Return the mean negative log-prob per token of each sample, in nats. None for a sample without tokens.

    `under` names the model: the writer of the samples, model 0, or a folder or hub id.

    Raises:
        RunError: A value is not finite.
    """
    own = [sample.logprob for sample in samples]
    scored = own if under == WRITER else [one.logprob for one in context.score_samples(samples, under)]
    means = [float(-np.maximum(one.astype(np.float64), FLOOR).mean()) if len(one) else None for one in scored]
    require_finite([mean or 0.0 for mean in means], samples, "surprisal")
    return means
