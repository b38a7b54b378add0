"""Keys that each small learner uses. Other keys have no effect in its runs.

The language model is not listed. `inert` has a rule for each of its keys, because they depend on one another.
"""

from __future__ import annotations

from autophage.recipe.keys import KEYS
from autophage.recipe.tables.track import TrackTable

EVERY = (
    "name",
    "description",
    "profile",
    "seed",
    "generations",
    "remedy",
    "learner.kind",
    "sample.count",
    "control.enabled",
    *(f"track.{name}" for name in TrackTable.model_fields),
)
"""Dotted keys with the same meaning for every learner."""
MIX = ("mix.alpha", "mix.schedule", "mix.alpha_final", "mix.pool", "mix.human")
WORLD = ("source.people", "source.zipf", "source.held_out_documents")
TEXT = (
    *("source.path", "source.held_out"),
    *("source.config", "source.split", "source.test_split", "source.column"),
)

USES: dict[str, tuple[str, ...]] = {
    "gaussian": ("learner.repetitions",),
    "mixture": ("learner.repetitions", "learner.components", "train.chain", "measure.documents"),
    "vae": (
        *("learner.latent", "learner.hidden", "source.path", "source.seed"),
        *("train.chain", "train.epochs", "train.learning_rate", "train.weight_decay", "train.batch_size"),
        *("measure.documents", "measure.resamples"),
    ),
    "ngram": (
        *("learner.order", "sample.max_tokens", "source.kind", "source.seed", *WORLD, *TEXT),
        *("measure.documents", "measure.pairwise", "measure.reference", "measure.resamples"),
    ),
    "regression": ("learner.repetitions", "learner.dimensions", "learner.noise"),
    "classifier": (
        *("learner.repetitions", "learner.dimensions", "learner.separation"),
        *("learner.error", "learner.keep_right", "learner.keep_wrong"),
    ),
}
"""Kind of learner to the dotted keys that it uses, beside `EVERY` and `MIX`."""


def used(kind: str) -> frozenset[str]:
    """Return the dotted keys that a small learner of this kind uses. The language model has no entry."""
    return frozenset((*EVERY, *MIX, *USES[kind]))


def unused(kind: str) -> tuple[str, ...]:
    """Return the dotted keys without effect in a run of a small learner of this kind."""
    return tuple(key for key in KEYS if key not in used(kind))
