"""All metrics of a corpus, from its samples and from model statistics. Each module defines its own metrics."""

from __future__ import annotations

from collections.abc import Sequence

from autophage.metrics.detection import detection_metrics
from autophage.metrics.diversity import diversity_metrics
from autophage.metrics.drift import divergence_metrics, tail_perplexity_metrics
from autophage.metrics.human import HumanText
from autophage.metrics.scored import Compared
from autophage.metrics.tail import tail_metrics
from autophage.metrics.text import junk_metrics, novelty_metrics, text_metrics
from autophage.recipe.tables.measure import MeasureTable
from autophage.store.corpus import Sample
from autophage.store.manifest import Metric


def corpus_metrics(
    texts: Sequence[str], token_ids: Sequence[Sequence[int]], human: HumanText, settings: MeasureTable, seed: int
) -> list[Metric]:
    """Compute all metrics of a corpus that need no model.

    `texts` and `token_ids` hold the same samples, without special tokens. `human` is the human text to compare with.
    """
    return [
        *text_metrics(texts),
        *novelty_metrics(texts, human, settings.resamples, seed),
        *junk_metrics(texts, token_ids),
        *diversity_metrics(texts, token_ids, human, settings.pairwise, settings.resamples, seed),
        *tail_metrics(token_ids, human, settings.resamples, seed),
    ]


def drift_metrics(
    samples: Sequence[Sample],
    base: Sequence[Compared],
    previous: Sequence[Compared] | None,
    settings: MeasureTable,
    seed: int,
) -> list[Metric]:
    """Compute the metrics of a corpus that need the statistics of its tokens under other models.

    `base` holds those under model 0, `previous` those under the previous model. Generation 0 has no previous model
    (None).
    """
    metrics = tail_perplexity_metrics([sample.ppl_under_base for sample in samples], settings.resamples, seed)
    metrics += detection_metrics([one.scored for one in base], settings.resamples, seed)
    metrics += divergence_metrics("drift/kl_to_base", base, settings.resamples, seed)
    if previous is not None:
        metrics += divergence_metrics("drift/kl_to_previous", previous, settings.resamples, seed)
    return metrics
