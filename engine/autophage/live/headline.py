"""Headline metrics, and their short labels for a row of a terminal.

The values come from events, manifests or a metrics table.
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
"""Metric -> short label, for learners that are not language models."""
LABELS = {**LEARNERS, TORSO: "torso accuracy", FORM: "form ppl", HUMAN: "human ppl", ENTROPY: "entropy"}
"""Metric -> short label of all headline metrics, in order of interest."""


def curves(known: Collection[str]) -> list[str]:
    """Choose the metrics that are drawn as curves: the first two `known` ones in order of interest.

    For a world these are knowledge and form, for a text human perplexity and entropy.
    """
    return [metric for metric in LABELS if metric in known][:2]


def columns(known: Collection[str]) -> list[str]:
    """Choose the `known` metrics that sum up a run in one line.

    For a language model these are knowledge, one perplexity and entropy.
    """
    perplexity = FORM if FORM in known else HUMAN
    return [metric for metric in (*LEARNERS, TORSO, perplexity, ENTROPY) if metric in known]
