"""What each metric means, in a few words: its label, its unit, and one sentence for the reader.

Pure. A metric that is not named here still gets a label made from its own name, so that nothing measured is hidden.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["share", "perplexity", "number", "positive", "nats", "seconds", "rate"]

BUCKETS = ("head", "torso", "tail")
FORMATS = ("question-answer", "cloze", "few-shot")
QUESTION_FORMATS = ("multiple-choice", "few-shot", "short-answer", "no-instruction")
GUESS = 0.25
"""Accuracy of four-way questions that are answered at random."""


@dataclass(frozen=True)
class Meaning:
    """`kind` is the unit; a share is drawn as a percentage, a perplexity and a positive number may need a logarithmic axis."""

    label: str
    note: str
    kind: Kind


LEARNERS = {
    "learner/variance": Meaning(
        "Fitted variance, mean",
        "Mean over chains. Its expectation does not move: few wide chains make up for many.",
        "positive",
    ),
    "learner/variance_median": Meaning(
        "Fitted variance, median", "Median over chains: what becomes of a typical one.", "positive"
    ),
    "learner/variance_about_origin": Meaning(
        "Variance about the human mean",
        "Of what is drawn, over all chains: their means walk away at random.",
        "positive",
    ),
    "learner/w2": Meaning(
        "Wasserstein distance", "Squared 2-Wasserstein distance of the fitted Gaussian to the human one.", "positive"
    ),
    "learner/l2": Meaning("L2 distance", "Of the fitted density to the human one.", "positive"),
    "learner/cross_entropy": Meaning(
        "Cross-entropy of human points",
        "Mean negative log-density of points that nothing was fitted to; in nats.",
        "positive",
    ),
    "learner/smallest_weight": Meaning(
        "Smallest component", "Weight of the smallest component of the mixture.", "share"
    ),
    "learner/latent_std": Meaning(
        "Latent spread", "Standard deviation of the codes that the encoder of model 0 gives to what is drawn.", "number"
    ),
    "learner/reconstruction": Meaning(
        "Reconstruction error", "Cross-entropy of held-out human images, in nats an image.", "number"
    ),
    "learner/recognised": Meaning(
        "Recognisability", "Probability of the likeliest digit, to a classifier of human images.", "share"
    ),
    "learner/digit_entropy": Meaning(
        "Entropy of digits", "Of the digits that the classifier sees, in nats; 2.30 is all equally often.", "nats"
    ),
    "learner/support": Meaning("Different n-grams", "That the model can write at all.", "number"),
    "learner/types": Meaning("Different words", "That the model can write at all.", "number"),
    "learner/survival": Meaning(
        "Surviving n-grams", "Share of the n-grams of model 0 that the model still has.", "share"
    ),
    "learner/test_error": Meaning(
        "Test error", "Mean squared distance of a prediction to that of the true weights.", "positive"
    ),
    "learner/accuracy": Meaning(
        "Accuracy", "Share of fresh points whose class the model tells, in expectation.", "share"
    ),
    "learner/kept": Meaning("Kept labels", "Share of the model's labels that the verifier lets through.", "share"),
    "learner/kept_error": Meaning(
        "Wrong among the kept", "Share of wrong labels among those that the verifier lets through.", "share"
    ),
}
"""Of learners that are no language models."""

BASES = {
    "knowledge/accuracy": Meaning("Accuracy", "Share of probes answered right, word for word.", "share"),
    "knowledge/confidence": Meaning("Confidence", "Probability the model gives to its own answer.", "share"),
    "knowledge/confidently_wrong": Meaning(
        "Confidently wrong", "Share of probes answered wrongly above the confidence threshold.", "share"
    ),
    "knowledge/ece": Meaning(
        "Calibration error", "Expected gap between confidence and accuracy, over 15 bins of confidence.", "share"
    ),
    "format/compliance": Meaning(
        "Format compliance", "Share of answers of the kind asked for (a city for a city), right or wrong.", "share"
    ),
    "questions/accuracy": Meaning(
        "Accuracy of four-way questions", "Share whose right option is the likeliest of the four to the model.", "share"
    ),
    "questions/greedy_rate": Meaning(
        "Greedy rate", "Of right choices, the share that the model would also write by itself.", "share"
    ),
    "questions/dominant": Meaning(
        "Dominant option", "Share of the option, by its place, that is chosen most: bias grows with it.", "share"
    ),
    "questions/always_one": Meaning(
        "Always the same option",
        "Accuracy of answering the place that is right most often, whatever is asked.",
        "share",
    ),
    "questions/compliance": Meaning(
        "Compliance", "Share of questions that the model begins to answer validly, right or wrong.", "share"
    ),
    "questions/confidence": Meaning("Confidence in the choice", "Share of the chosen option among the four.", "share"),
    "questions/confidently_wrong": Meaning(
        "Confidently wrong choice", "Share of questions answered wrongly above the confidence threshold.", "share"
    ),
    "questions/ece": Meaning(
        "Calibration error of choices", "Expected gap between confidence and accuracy, over 15 bins.", "share"
    ),
    "questions/generated_accuracy": Meaning(
        "Accuracy of written answers", "Share of sampled answers that name the right option.", "share"
    ),
    "questions/generated_compliance": Meaning(
        "Compliance of written answers", "Share of sampled answers that name a valid answer, right or wrong.", "share"
    ),
    "questions/entailment": Meaning(
        "Entailment", "Mean probability that a sampled answer entails the right option.", "share"
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
    "drift/kl_to_base": Meaning(
        "Divergence from the base",
        "KL from model 0 per token of its own text, over the whole vocabulary; in nats.",
        "nats",
    ),
    "drift/kl_to_previous": Meaning(
        "Divergence from the previous model", "KL from the model before it per token of its own text; in nats.", "nats"
    ),
    "mix/redrawn": Meaning(
        "Human tokens drawn anew", "Share of the human text's tokens that mix.human_edit draws from the model.", "share"
    ),
    "mix/edited": Meaning(
        "Human tokens edited", "Share of the human text's tokens that became another token by that.", "share"
    ),
    "anchor/kl": Meaning(
        "Divergence in training",
        "From what [anchor] names, per trained token, in the direction that it names; mean over a training; in nats.",
        "nats",
    ),
    "anchor/withheld": Meaning(
        "Tokens withheld", "Share of trained tokens whose loss was truncated, clipped or masked.", "share"
    ),
    "tail/ppl_under_base": Meaning(
        "Perplexity under the base", "Of each sample, to model 0: median, mean and outer twentieths.", "perplexity"
    ),
    "tail/mass": Meaning(
        "Tail mass", "Share of its tokens that are of the rare tenth of human text; suffixes name other parts.", "share"
    ),
    "tail/mass_vs_human": Meaning(
        "Tail mass against human text", "Its share of rare tokens over that of human text; 1 is as human.", "number"
    ),
    "tail/coverage": Meaning(
        "Tail coverage", "Share of rare human tokens that occur in its corpus at all; rises with its size.", "share"
    ),
    **{
        f"text/distinct_{n}": Meaning(
            f"Distinct {name}", f"Different {of} over all {of}; falls with the size of a corpus.", "number"
        )
        for n, name, of in (
            (1, "words", "words"),
            (2, "bigrams", "word bigrams"),
            (3, "trigrams", "word trigrams"),
            (4, "4-grams", "word 4-grams"),
        )
    },
    "text/compression": Meaning(
        "Compression", "Bytes over gzip bytes of all samples together; higher is more redundant.", "number"
    ),
    "text/duplicate": Meaning("Duplicates", "Share of samples that repeat another sample.", "share"),
    "text/novelty": Meaning("Novel 4-grams", "Share of word 4-grams that the human reference does not have.", "share"),
    "text/junk": Meaning(
        "Junk", "Share of samples that are empty, have no letter, or are mostly one token repeated.", "share"
    ),
    "text/self_bleu": Meaning(
        "Self-BLEU", "BLEU-4 of a sample with others as references; higher is more alike.", "share"
    ),
    "text/vendi": Meaning(
        "Vendi score", "Effective number of different samples in a draw, by words and bigrams.", "number"
    ),
    "text/embedding_diversity": Meaning(
        "Embedding diversity", "Mean cosine distance of two samples, as TF-IDF of their tokens.", "number"
    ),
    "detect/fast_detectgpt": Meaning(
        "Fast-DetectGPT",
        "How much likelier than its own samples model 0 finds the text, in standard deviations.",
        "number",
    ),
    "detect/log_rank_ratio": Meaning(
        "Log-likelihood log-rank ratio",
        "Surprisal over log rank under model 0; higher looks more machine-written.",
        "number",
    ),
    "gate/accepted": Meaning(
        "Accepted",
        "Share of its samples that gates let through; suffixes are what they remarked all the same.",
        "share",
    ),
    "gate/rejected": Meaning(
        "Rejected", "Share of its samples that a gate rejected; suffixes are the reasons.", "share"
    ),
    "gate/weight": Meaning(
        "Weight", "Mean weight in training of an accepted sample; 1 is that of any document.", "number"
    ),
    "gate/scored_tokens": Meaning("Tokens scored by gates", "Read by the writer or model 0 so as to judge.", "number"),
    "gate/trained_tokens": Meaning(
        "Tokens trained on by gates", "In steps of the writer that were taken so as to judge, and taken back.", "number"
    ),
    **LEARNERS,
    "speed/sample_tokens_per_second": Meaning("Sampling", "", "rate"),
    "speed/train_tokens_per_second": Meaning("Training", "", "rate"),
    "speed/judge_tokens": Meaning(
        "Tokens read by named judges",
        "By the models that gates name, in their own tokens; human text that is read once in a run counts where it was.",
        "number",
    ),
}


def order(metric: str) -> tuple[int, ...]:
    """Where a suffixed metric stands among its family: by bucket, then by format, as they are listed here."""
    places = [*BUCKETS, *FORMATS, *QUESTION_FORMATS]
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
