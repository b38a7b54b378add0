"""Claims of papers that the shipped recipes test.

An interval over seeds judges a claim. A claim is `reproduced` if the interval holds only the paper's direction. It is
`contradicted` if the interval holds only the other direction. It is `not at this scale` if the interval holds 0.
"""

from collections.abc import Callable, Iterator

from claims import learners, models
from claims.study import Judged, Study

CLAIMS: dict[str, Callable[[Study], Iterator[Judged]]] = {
    "knowledge-collapse": models.knowledge_collapse,
    "knowledge-domain": models.knowledge_domain,
    "curse-of-recursion": models.curse_of_recursion,
    "accumulate-or-replace": models.accumulate_or_replace,
    "rank-hides-collapse": models.rank_hides_collapse,
    "curse-gaussian": learners.curse_gaussian,
    "curse-mixture": learners.curse_mixture,
    "curse-vae": learners.curse_vae,
    "curse-ngram": learners.curse_ngram,
    "regression-accumulate": learners.regression_accumulate,
    "verifier-breakdown": learners.verifier_breakdown,
    "remedies": lambda _: iter(()),
}
"""Judges of each recipe's claims, in the order of the table. `remedies` has a table of its own (`remedy_table.py`)."""

__all__ = ["CLAIMS", "Judged", "Study"]
