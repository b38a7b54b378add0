"""`detector`: importance resampling against machine-written text (arXiv 2502.15654).

Let q be the probability that a sample is machine-written. Its weight is (1 - q)^exponent. `size` times the number of
samples are drawn in proportion to the weights, and none more than `repeats` times. A sample that is not drawn is
rejected. The number of draws, divided by its mean over the drawn samples, is a sample's weight in training. Drawn
samples therefore weigh as much as equally many human rows.

By default q comes from conditional probability curvature (Fast-DetectGPT, arXiv 2310.05130) under the writer,
recorded during sampling. A logistic regression on the curvature separates the samples from human continuations of
similar prompts. The writer scores those continuations. A model replaces curvature by a classifier. Text of base
models may pass every such detector. All weights are then nearly equal, and the gate changes nothing.
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
    """Gate `detector` with its settings. It resamples a corpus towards text that looks human."""

    kind: Literal["detector"] = Field("detector", description="name of the gate")
    exponent: float = Field(
        10.0, gt=0.0, le=100.0, description="a sample's weight is its probability of being human to this power"
    )
    size: float = Field(1.0, gt=0.0, le=10.0, description="documents drawn per sample")
    repeats: int = Field(3, ge=1, le=100, description="maximum draws of one sample")
    human: Positive = Field(256, description="human documents that the classifier separates the samples from")
    model: PathText | None = Field(None, description="folder or hub id of a sequence classifier; replaces curvature")
    label: str | None = Field(
        None,
        min_length=1,
        description="with a model: its label for machine-written text; leave it out for a model with a single output",
    )

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
        """Return the probability that each sample is machine-written, `[N]`.

        It comes from a logistic regression on conditional probability curvature, fitted to samples and human text.
        """
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
    """Draw `count` of N items in proportion to their weights, and return the number of draws of each, `[N]`.

    No item is drawn more than `repeats` times. Fewer than `count` draws result if every item with a weight reaches
    that limit. An item of weight 0 is never drawn.
    """
    drawn_N = np.zeros(len(weights_N), dtype=np.int64)
    while (left := count - int(drawn_N.sum())) > 0:
        open_N = np.where(drawn_N < repeats, weights_N, 0.0)
        if open_N.sum() <= 0:
            break
        drawn_N = np.minimum(drawn_N + rng.multinomial(left, open_N / open_N.sum()), repeats)
    return drawn_N
