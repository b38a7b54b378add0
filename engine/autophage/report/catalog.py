"""What each metric means, in a few words: its label, its unit, and one sentence for the reader.

Pure. A metric that is not named here still gets a label made from its own name, so that nothing measured is hidden.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["share", "perplexity", "number", "nats", "seconds", "rate"]

BUCKETS = ("head", "torso", "tail")
FORMATS = ("question-answer", "cloze", "few-shot")


@dataclass(frozen=True)
class Meaning:
    """`kind` is the unit; a share is drawn as a percentage, a perplexity may need a logarithmic axis."""

    label: str
    note: str
    kind: Kind


BASES = {
    "knowledge/accuracy": Meaning("Accuracy", "Share of probes answered right, word for word.", "share"),
    "knowledge/confidence": Meaning("Confidence", "Probability the model gives to its own answer.", "share"),
    "knowledge/confidently_wrong": Meaning(
        "Confidently wrong", "Share of probes answered wrongly above the confidence threshold.", "share"
    ),
    "knowledge/ece": Meaning("Calibration error", "Expected gap between confidence and accuracy.", "share"),
    "format/compliance": Meaning(
        "Format compliance", "Share of answers of the kind asked for (a city for a city), right or wrong.", "share"
    ),
    "fluency/ppl_form": Meaning("Perplexity of form", "Of the words of a sentence that carry no fact.", "perplexity"),
    "fluency/ppl_human": Meaning(
        "Perplexity of human text", "On human text that no model was trained on.", "perplexity"
    ),
    "fact/ppl": Meaning("Perplexity of facts", "Of the words of a sentence that carry the fact.", "perplexity"),
    "onpolicy/entropy": Meaning("Entropy", "Of the next token, on its own text; in nats.", "nats"),
    "onpolicy/varentropy": Meaning("Varentropy", "Variance of the next token's surprisal, on its own text.", "number"),
    "onpolicy/surprisal_gap": Meaning(
        "Surprisal gap", "Surprisal of its own tokens minus their entropy, in nats; it moves with the decoding.", "nats"
    ),
    "drift/kl_to_base": Meaning("Divergence from the base", "KL divergence from model 0.", "nats"),
    "tail/mass": Meaning("Tail mass", "Probability the model still gives to rare tokens.", "share"),
    "tail/coverage": Meaning("Tail coverage", "Share of rare tokens that still appear.", "share"),
    "text/distinct_2": Meaning(
        "Distinct bigrams", "Different word bigrams over all word bigrams; falls with the size of a corpus.", "number"
    ),
    "text/compression": Meaning(
        "Compression", "Bytes over gzip bytes of all samples together; higher is more redundant.", "number"
    ),
    "text/duplicate": Meaning("Duplicates", "Share of samples that repeat another sample.", "share"),
    "text/self_bleu": Meaning("Self-BLEU", "How much samples resemble one another.", "number"),
    "text/vendi": Meaning("Vendi score", "Effective number of different samples.", "number"),
    "detect/fast_detectgpt": Meaning("Fast-DetectGPT", "How machine-written the samples look to a detector.", "number"),
    "speed/sample_tokens_per_second": Meaning("Sampling", "", "rate"),
    "speed/train_tokens_per_second": Meaning("Training", "", "rate"),
}


def order(metric: str) -> tuple[int, ...]:
    """Where a suffixed metric stands among its family: by bucket, then by format, as they are listed here."""
    places = [*BUCKETS, *FORMATS]
    return tuple(places.index(suffix) if suffix in places else len(places) for suffix in split(metric)[1])


def split(metric: str) -> tuple[str, list[str]]:
    """`knowledge/accuracy.torso.cloze` -> (`knowledge/accuracy`, [`torso`, `cloze`])."""
    base, *suffixes = metric.split(".")
    return base, suffixes


def describe(metric: str) -> Meaning:
    """The meaning of a metric; suffixes narrow the label down."""
    base, suffixes = split(metric)
    known = BASES.get(base)
    if known is None:
        kind: Kind = "seconds" if base.endswith("_seconds") else "rate" if base.endswith("_per_second") else "number"
        return Meaning(metric, "", kind)
    if not suffixes:
        return known
    return Meaning(f"{known.label}, {', '.join(suffixes)}", known.note, known.kind)
