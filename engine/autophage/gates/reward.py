"""`reward`: keeps samples above a threshold that rises each generation (ReST, arXiv 2308.08998).

Each generation is an improve step. Corpus g is held to threshold g, and later corpora to the last threshold. The
reward `likelihood` is the mean log-prob per token under model 0. The reward `world` is the share of right statements
about a world. The reward `model` is a reward model's output. By default a threshold is a share of the corpus, which
suits rewards of any scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from autophage.gates.by_model import ByClassifier, ruled
from autophage.gates.protocol import BASE, Context, Verdict, abstain, accept, reject
from autophage.gates.surprise import surprisals
from autophage.recipe.settings import Settings
from autophage.recipe.tables.table import PathText
from autophage.store.corpus import Sample

UNREWARDED = abstain("no reward")


class Reward(ByClassifier):
    """Gate `reward` with its settings. It keeps samples whose reward reaches the threshold of their generation."""

    kind: Literal["reward"] = Field("reward", description="name of the gate")
    reward: Literal["likelihood", "world", "model"] = Field(
        "likelihood",
        description="likelihood: mean log-prob per token under model 0; world: share of right statements; model: output of a "
        "reward model",
    )
    thresholds: list[float] = Field(
        [0.0, 0.7, 0.8, 0.9, 0.95, 0.99],
        min_length=1,
        description="thresholds of generations 0, 1, ...; the last one applies to all later generations",
    )
    scale: Literal["share", "value"] = Field(
        "share",
        description="share: a threshold is the share of samples with a lower reward; value: a threshold is a reward",
    )
    model: PathText | None = Field(None, description="model: folder or hub id of a sequence classifier or reward model")
    label: str | None = Field(
        None, min_length=1, description="model: its label for good text; leave it out for a model with a single output"
    )

    @property
    def passes(self) -> int:
        return int(self.reward != "world")

    def unfit(self, settings: Settings) -> tuple[str, ...]:
        if self.reward == "world" and settings.source.kind != "world":
            return ('reward = "world" counts right statements about a world, and the source is not a world',)
        if self.reward == "model" and self.model is None:
            return ('reward = "model" needs a model', "give a folder or a hub id: model = ...")
        if sorted(self.thresholds) != self.thresholds:
            return (
                "thresholds must not fall from one generation to the next",
                f"write thresholds = {sorted(self.thresholds)}",
            )
        if self.scale == "share" and not all(0.0 <= one < 1.0 for one in self.thresholds):
            return ('thresholds of scale = "share" must be at least 0 and below 1', 'or write scale = "value"')
        return ()

    def judge(self, samples: Sequence[Sample], context: Context) -> list[Verdict]:
        readable = [sample for sample in samples if sample.token_ids]
        rewards = self._rewards(readable, context)
        given = [one for one in rewards if one is not None]
        threshold = self._least(np.array(given), context.generation)

        def ruling(reward: float | None) -> Verdict:
            if reward is None:
                return UNREWARDED
            return accept() if reward >= threshold else reject("low reward")

        return ruled(samples, readable, rewards, ruling, UNREWARDED)

    def _least(self, rewards_N: np.ndarray, generation: int) -> float:
        """Return the smallest reward that the gate keeps in a generation. `rewards_N` are those of the whole corpus.

        With `scale = "share"` it is the reward at that share of the sorted corpus. Ties with it are kept. Without
        rewards it is the threshold itself.
        """
        threshold = self.thresholds[min(generation, len(self.thresholds) - 1)]
        if self.scale == "value" or not len(rewards_N):
            return threshold
        return float(np.sort(rewards_N)[int(threshold * len(rewards_N))])

    def _rewards(self, samples: Sequence[Sample], context: Context) -> list[float | None]:
        if self.reward == "world":
            return _shares_right(samples, context)
        if self.reward == "likelihood":
            return [None if one is None else -one for one in surprisals(samples, context, BASE)]
        return [*self.judged_values(samples, context, "reward")]


def _shares_right(samples: Sequence[Sample], context: Context) -> list[float | None]:
    """Return the share of each sample's statements about a world that are right. None for one without statements."""
    found = [context.claims(sample.text) for sample in samples]
    return [sum(one.right for one in claims) / len(claims) if claims else None for claims in found]
