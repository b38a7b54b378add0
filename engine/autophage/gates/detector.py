"""`detector`: importance resampling away from what looks machine-written (arXiv 2502.15654).

A sample with probability q of being machine-written has the weight (1 - q)^exponent; as many samples as there are (times
`size`) are drawn in proportion, none more than `repeats` times. What was not drawn is rejected; how often another was drawn is
its weight in training, over the mean of all that were, so that samples beside human rows count as many as they are.

By default q comes from conditional probability curvature (Fast-DetectGPT, arXiv 2310.05130) under the writer, recorded while it
sampled; a logistic regression on it tells the samples from what people wrote after prompts of the same kind, which the writer
reads for that. A model names a classifier instead. Text of base models may pass any such detector: then all weights are nearly
alike, and nothing is gained.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from autophage.gates.by_model import ByClassifier, ruled
from autophage.gates.protocol import WRITER, Context, Verdict, abstain, accept, reject
from autophage.metrics.detection import curvature
from autophage.metrics.scored import Statistics
from autophage.recipe.tables.table import PathText, Positive
from autophage.seeds import derive
from autophage.store.corpus import Sample


class Detector(ByClassifier):
    kind: Literal["detector"] = Field("detector", description="which gate")
    exponent: float = Field(
        10.0, gt=0.0, le=100.0, description="of the probability of being human, in a sample's weight"
    )
    size: float = Field(1.0, gt=0.0, le=10.0, description="documents drawn, for each sample")
    repeats: int = Field(3, ge=1, le=100, description="times a sample may be drawn")
    human: Positive = Field(256, description="human documents that the samples are told from")
    model: PathText | None = Field(None, description="a sequence classifier, folder or hub id, instead of curvature")
    label: str | None = Field(None, min_length=1, description="with a model: its label for machine-written text")

    def judge(self, samples: Sequence[Sample], context: Context) -> list[Verdict]:
        readable = [sample for sample in samples if sample.token_ids]
        if not readable:
            return [abstain("no tokens") for _ in samples]
        machine_N = self._by_curvature(readable, context) if self.model is None else self._by_model(readable, context)
        rng = np.random.default_rng(derive(context.seed, "resampling"))
        drawn_N = draw_in_proportion(
            (1.0 - machine_N) ** self.exponent, round(self.size * len(readable)), self.repeats, rng
        )
        weights_N = drawn_N * (np.count_nonzero(drawn_N) / max(1, drawn_N.sum()))
        weights = [float(weight) for weight in weights_N]
        return ruled(
            samples, readable, weights, lambda one: accept(one) if one else reject("not drawn"), abstain("no tokens")
        )

    def _by_curvature(self, samples: Sequence[Sample], context: Context) -> np.ndarray:
        """P(machine-written) of each sample [N], by a logistic regression of who wrote it on the curvature."""
        from sklearn.linear_model import LogisticRegression

        items = context.source.items(derive(context.seed, "human"), self.human)
        sequences = [[*item.prompt_ids, *item.continuation_ids] for item in items]
        human = context.score(sequences, [len(item.prompt_ids) for item in items], WRITER)
        own_N = [curvature(_statistics(sample)) for sample in samples]
        both_M1 = np.array([*own_N, *map(curvature, human)])[:, None]
        written_M = np.arange(len(both_M1)) < len(own_N)
        fitted = LogisticRegression(class_weight="balanced").fit(both_M1, written_M)
        return np.asarray(fitted.predict_proba(both_M1[: len(own_N)])[:, 1])

    def _by_model(self, samples: Sequence[Sample], context: Context) -> np.ndarray:
        values = self.judged_values(samples, context, "probability of being machine-written")
        return np.clip(np.array(values), 0.0, 1.0)


def _statistics(sample: Sample) -> Statistics:
    return Statistics(sample.logprob, sample.entropy, sample.varentropy, sample.max_prob, sample.rank)


def draw_in_proportion(weights_N: np.ndarray, count: int, repeats: int, rng: np.random.Generator) -> np.ndarray:
    """How often each of N things is drawn [N]: `count` draws in proportion to the weights, none more than `repeats` times.

    Fewer where everything with a weight is drawn that often. Weights that are all 0 draw nothing.
    """
    drawn_N = np.zeros(len(weights_N), dtype=np.int64)
    while (left := count - int(drawn_N.sum())) > 0:
        open_N = np.where(drawn_N < repeats, weights_N, 0.0)
        if open_N.sum() <= 0:
            break
        drawn_N = np.minimum(drawn_N + rng.multinomial(left, open_N / open_N.sum()), repeats)
    return drawn_N
