"""Label, unit and one sentence for each metric.

A metric that is not listed gets a label from its own name, so every measured value is shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["share", "perplexity", "number", "positive", "nats", "seconds", "rate"]

BUCKETS = ("head", "torso", "tail")
FORMATS = ("question-answer", "cloze", "few-shot")
QUESTION_FORMATS = ("multiple-choice", "few-shot", "short-answer", "no-instruction", "question-answer", "cloze")


@dataclass(frozen=True)
class Meaning:
    """Label, note and unit of a metric, for the reader of a report.

    `note` is one sentence. `kind` is the unit. A share is drawn as a percentage. A perplexity or a positive number may
    get a logarithmic axis.
    """

    label: str
    note: str
    kind: Kind


LEARNERS = {
    "learner/variance": Meaning(
        "Fitted variance, mean",
        "Mean over chains. Its expectation is constant: a few wide chains offset many narrow ones.",
        "positive",
    ),
    "learner/variance_median": Meaning(
        "Fitted variance, median", "Median over chains: the variance of a typical chain.", "positive"
    ),
    "learner/variance_about_origin": Meaning(
        "Variance about the human mean",
        "Variance of the numbers that all chains draw, about the human mean.",
        "positive",
    ),
    "learner/w2": Meaning(
        "Wasserstein distance",
        "Squared 2-Wasserstein distance between the fitted Gaussian and the human one.",
        "positive",
    ),
    "learner/l2": Meaning("L2 distance", "Distance between the fitted density and the human one.", "positive"),
    "learner/cross_entropy": Meaning(
        "Cross-entropy of human points",
        "Mean negative log-density of held-out human points, in nats.",
        "positive",
    ),
    "learner/smallest_weight": Meaning(
        "Smallest component", "Weight of the smallest component of the mixture.", "share"
    ),
    "learner/latent_std": Meaning(
        "Latent spread", "Standard deviation of the drawn images' codes under the encoder of model 0.", "number"
    ),
    "learner/reconstruction": Meaning(
        "Reconstruction error", "Cross-entropy of held-out human images, in nats per image.", "number"
    ),
    "learner/recognised": Meaning(
        "Recognisability", "Probability of the likeliest digit under a classifier of human images.", "share"
    ),
    "learner/digit_entropy": Meaning(
        "Entropy of digits",
        "Entropy of the digits that the classifier sees, in nats; 2.30 if all are equally frequent.",
        "nats",
    ),
    "learner/support": Meaning("Different n-grams", "Number of different n-grams that the model can write.", "number"),
    "learner/types": Meaning("Different words", "Number of different words that the model can write.", "number"),
    "learner/survival": Meaning("Surviving n-grams", "Share of model 0's n-grams that the model still has.", "share"),
    "learner/test_error": Meaning(
        "Test error", "Mean squared difference between predictions and those of the true weights.", "positive"
    ),
    "learner/accuracy": Meaning(
        "Accuracy", "Expected share of fresh points that the model classifies correctly.", "share"
    ),
    "learner/kept": Meaning("Kept labels", "Share of the model's labels that the verifier keeps.", "share"),
    "learner/kept_error": Meaning(
        "Wrong among the kept", "Share of wrong labels among those that the verifier keeps.", "share"
    ),
}
"""Metric -> meaning, for learners that are not language models."""

BASES = {
    "knowledge/accuracy": Meaning(
        "Accuracy",
        "Share of probes answered correctly, word for word. Of places: share of four-way questions for which the model ranks the "
        "right option first.",
        "share",
    ),
    "knowledge/confidence": Meaning("Confidence", "Probability that the model gives to its own answer.", "share"),
    "knowledge/confidently_wrong": Meaning(
        "Confidently wrong", "Share of probes answered wrongly with confidence above the threshold.", "share"
    ),
    "knowledge/ece": Meaning(
        "Calibration error", "Mean gap between confidence and accuracy, over 15 bins of confidence.", "share"
    ),
    "knowledge/generated_accuracy": Meaning(
        "Accuracy of written answers about places",
        "Share of written answers about places that name the right answer, or another name of it.",
        "share",
    ),
    "knowledge/retention": Meaning(
        "Retention",
        "Of the questions about places that model 0 answered correctly, the share that the model still does. Left out where "
        "model 0 only guessed.",
        "share",
    ),
    "knowledge/generated_retention": Meaning(
        "Retention of written answers",
        "Of the questions about places that model 0 answered correctly in writing, the share that the model still does.",
        "share",
    ),
    "format/compliance": Meaning(
        "Format compliance", "Share of answers of the requested kind (a city for a city), right or wrong.", "share"
    ),
    "questions/accuracy": Meaning(
        "Accuracy of four-way questions",
        "Share of questions for which the model ranks the right option first.",
        "share",
    ),
    "questions/greedy_rate": Meaning(
        "Greedy rate", "Share of right choices that are also the model's greedy continuation.", "share"
    ),
    "questions/dominant": Meaning(
        "Dominant option",
        "Share of answers at the option position that is chosen most. It rises with position bias.",
        "share",
    ),
    "questions/always_one": Meaning(
        "Always the same option",
        "Accuracy of always choosing the position that is right most often.",
        "share",
    ),
    "questions/compliance": Meaning(
        "Compliance", "Share of questions to which the model begins a valid answer, right or wrong.", "share"
    ),
    "questions/confidence": Meaning(
        "Confidence in the choice", "Probability of the chosen option relative to all four.", "share"
    ),
    "questions/confidently_wrong": Meaning(
        "Confidently wrong choice", "Share of questions answered wrongly with confidence above the threshold.", "share"
    ),
    "questions/ece": Meaning(
        "Calibration error of choices", "Mean gap between confidence and accuracy, over 15 bins of confidence.", "share"
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
    "fluency/ppl_form": Meaning("Perplexity of form", "Perplexity of the words that carry no fact.", "perplexity"),
    "fluency/ppl_human": Meaning("Perplexity of human text", "Perplexity of held-out human text.", "perplexity"),
    "fact/ppl": Meaning("Perplexity of facts", "Perplexity of the words that carry the fact.", "perplexity"),
    "onpolicy/entropy": Meaning("Entropy", "Entropy of the next token on the model's own text, in nats.", "nats"),
    "onpolicy/varentropy": Meaning(
        "Varentropy", "Variance of the next token's surprisal on the model's own text.", "number"
    ),
    "onpolicy/surprisal_gap": Meaning(
        "Surprisal gap",
        "Surprisal minus entropy of the model's own tokens, in nats. Decoding settings change it.",
        "nats",
    ),
    "drift/kl_to_base": Meaning(
        "Divergence from the base",
        "KL divergence from model 0, per token of the model's own text, in nats.",
        "nats",
    ),
    "drift/kl_to_previous": Meaning(
        "Divergence from the previous model",
        "KL divergence from the previous model, per token of the model's own text, in nats.",
        "nats",
    ),
    "mix/redrawn": Meaning(
        "Human tokens resampled", "Share of human tokens that mix.human_edit resamples from the model.", "share"
    ),
    "mix/edited": Meaning("Human tokens edited", "Share of human tokens that resampling changed.", "share"),
    "anchor/kl": Meaning(
        "Divergence in training",
        "Divergence from the reference of [anchor], in its direction, per trained token; mean over a training, in nats.",
        "nats",
    ),
    "anchor/withheld": Meaning(
        "Tokens withheld", "Share of trained tokens whose loss was truncated, clipped or masked.", "share"
    ),
    "tail/ppl_under_base": Meaning(
        "Perplexity under the base",
        "Perplexity of each sample under model 0: median, mean, 5th and 95th percentile.",
        "perplexity",
    ),
    "tail/mass": Meaning(
        "Tail mass",
        "Share of tokens from the rarest tenth of human text. Suffixes name other parts.",
        "share",
    ),
    "tail/mass_vs_human": Meaning(
        "Tail mass against human text", "Share of rare tokens relative to human text; 1 is the human level.", "number"
    ),
    "tail/coverage": Meaning(
        "Tail coverage", "Share of rare human tokens that occur in the corpus. It rises with corpus size.", "share"
    ),
    **{
        f"text/distinct_{n}": Meaning(
            f"Distinct {name}", f"Different {of} divided by all {of}. It falls with corpus size.", "number"
        )
        for n, name, of in (
            (1, "words", "words"),
            (2, "bigrams", "word bigrams"),
            (3, "trigrams", "word trigrams"),
            (4, "4-grams", "word 4-grams"),
        )
    },
    "text/compression": Meaning(
        "Compression", "Bytes divided by gzip bytes, all samples together. Higher is more redundant.", "number"
    ),
    "text/duplicate": Meaning("Duplicates", "Share of samples that repeat an earlier sample.", "share"),
    "text/novelty": Meaning("Novel 4-grams", "Share of word 4-grams that the human reference lacks.", "share"),
    "text/junk": Meaning(
        "Junk", "Share of samples that are empty, have no letter, or mostly repeat one token.", "share"
    ),
    "text/self_bleu": Meaning(
        "Self-BLEU", "BLEU-4 of a sample with the others as references. Higher is more alike.", "share"
    ),
    "text/vendi": Meaning(
        "Vendi score", "Effective number of different samples in a draw, by words and word bigrams.", "number"
    ),
    "text/embedding_diversity": Meaning(
        "Embedding diversity", "Mean cosine distance between two samples, as TF-IDF of their tokens.", "number"
    ),
    "detect/fast_detectgpt": Meaning(
        "Fast-DetectGPT",
        "Likelihood under model 0 relative to model 0's own samples, in standard deviations.",
        "number",
    ),
    "detect/log_rank_ratio": Meaning(
        "Log-likelihood log-rank ratio",
        "Surprisal divided by log rank under model 0. Higher looks more machine-written.",
        "number",
    ),
    "gate/accepted": Meaning(
        "Accepted",
        "Share of samples that the gates accepted. Suffixes are remarks on accepted samples.",
        "share",
    ),
    "gate/rejected": Meaning("Rejected", "Share of samples that a gate rejected. Suffixes are the reasons.", "share"),
    "gate/weight": Meaning("Weight", "Mean training weight of an accepted sample. The default is 1.", "number"),
    "gate/scored_tokens": Meaning(
        "Tokens scored by gates", "Tokens that the writer or model 0 read to judge samples.", "number"
    ),
    "gate/trained_tokens": Meaning(
        "Tokens trained on by gates",
        "Tokens of the writer's trial steps, which are undone once a sample is judged.",
        "number",
    ),
    **LEARNERS,
    "speed/sample_tokens_per_second": Meaning("Sampling", "", "rate"),
    "speed/train_tokens_per_second": Meaning("Training", "", "rate"),
    "speed/sample_of_light": Meaning(
        "Sampling, share of light", "Time of the model's bare matrix products over the time of sampling.", "share"
    ),
    "speed/train_of_light": Meaning(
        "Training, share of light", "Time of the model's bare matrix products over the time of training.", "share"
    ),
    "speed/judge_tokens": Meaning(
        "Tokens read by named judges",
        "Tokens read by the models that gates name, in their own tokenizers. Human text counts once.",
        "number",
    ),
}
"""Metric without suffixes -> meaning."""


def order(metric: str) -> tuple[int, ...]:
    """Return a sort key for the suffixed metrics of one family.

    Frequency buckets come before question formats, both in the order of this module. Unknown suffixes come last.
    """
    places = [*BUCKETS, *FORMATS, *QUESTION_FORMATS]
    return tuple(places.index(suffix) if suffix in places else len(places) for suffix in split(metric)[1])


def split(metric: str) -> tuple[str, list[str]]:
    """Split a metric's name at its dots: `knowledge/accuracy.torso` -> (`knowledge/accuracy`, [`torso`])."""
    base, *suffixes = metric.split(".")
    return base, suffixes


def describe(metric: str) -> Meaning:
    """Return the label, note and unit of a metric.

    Suffixes extend the label. An unlisted metric has its name as label and no note.
    """
    base, suffixes = split(metric)
    known = BASES.get(base)
    if known is None:
        kind: Kind = "seconds" if base.endswith("_seconds") else "rate" if base.endswith("_per_second") else "number"
        return Meaning(metric, "", kind)
    if not suffixes:
        return known
    return Meaning(f"{known.label}, {', '.join(suffixes)}", known.note, known.kind)
