"""The share of light of a stage: what a call of the sampler counts, and how a share is recorded."""

from __future__ import annotations

from autophage.cluster.actors import _tokens_of
from autophage.cluster.results import speed_of
from autophage.cluster.scheduler import Stage
from autophage.plan.light import SampledTokens
from autophage.sampler.protocol import Completion, Request


def test_a_call_counts_the_tokens_of_all_its_models() -> None:
    requests = [[Request([1, 2, 3], 0), Request([1], 1)], [Request([4, 5], 2)]]
    documents = [[Completion([7, 8], "length"), Completion([9], "stop")], [Completion([6, 6, 6], "length")]]
    assert _tokens_of(requests, documents) == SampledTokens(documents=3, prompted=6, written=6)


def test_a_share_is_a_metric_beside_the_rate() -> None:
    names = {metric.metric: metric.value for metric in speed_of(Stage.SAMPLE, 2.0, 100, 0.4)}
    assert names == {
        "speed/sample_seconds": 2.0, "speed/sample_tokens_per_second": 50.0, "speed/sample_of_light": 0.4,
    }  # fmt: skip
    assert [metric.metric for metric in speed_of(Stage.SWAP, 2.0, 0)] == ["speed/swap_seconds"]
