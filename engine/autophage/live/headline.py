"""The few metrics that say at a glance what happens to a model, and how they are called in a row of a terminal.

Knows metric names only; the values come from events, manifests or a metrics table.
"""

from __future__ import annotations

from collections.abc import Collection

TORSO = "knowledge/accuracy.torso"
FORM = "fluency/ppl_form"
HUMAN = "fluency/ppl_human"
ENTROPY = "onpolicy/entropy"

LEARNERS = {
    "learner/variance_median": "median variance",
    "learner/variance_about_origin": "variance about origin",
    "learner/l2": "L2 distance",
    "learner/cross_entropy": "cross-entropy",
    "learner/latent_std": "latent std",
    "learner/recognised": "recognised",
    "learner/support": "n-grams",
    "learner/test_error": "test error",
    "learner/accuracy": "accuracy",
    "learner/kept_error": "wrong of kept",
}
"""Of learners that are no language models."""
LABELS = {**LEARNERS, TORSO: "torso accuracy", FORM: "form ppl", HUMAN: "human ppl", ENTROPY: "entropy"}
"""Every headline metric, in the order of interest."""


def curves(known: Collection[str]) -> list[str]:
    """The two metrics worth a curve: knowledge and form in a world, human perplexity and entropy for a text."""
    return [metric for metric in LABELS if metric in known][:2]


def columns(known: Collection[str]) -> list[str]:
    """What a finished run is summed up in: of language models knowledge, one perplexity and entropy."""
    perplexity = FORM if FORM in known else HUMAN
    return [metric for metric in (*LEARNERS, TORSO, perplexity, ENTROPY) if metric in known]
