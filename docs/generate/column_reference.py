"""Tables of the columns of every Parquet file, from the schemas that write them.

Each column has one sentence here. The build stops where a schema has a column without a sentence, or a sentence is of no column.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
from text import table

from autophage.store import answers, broken, corpus, metrics_table, numbers, training

CORPUS = {
    "sample_id": "Hash of run seed, arm, generation, place, prompt and sampling seed; 32 hex digits.",
    "prompt": "The prompt as text.",
    "text": "The model's text after the prompt.",
    "prompt_ids": "The prompt as token ids.",
    "token_ids": "The generated tokens, including the end token if the model ended the sample.",
    "logprob": "Log-prob of each generated token under the model's full distribution at temperature 1, in nats.",
    "entropy": "Entropy of that distribution at each token, in nats.",
    "varentropy": "Variance of the surprisal under that distribution, in nats².",
    "max_prob": "Largest probability of that distribution.",
    "rank": "Number of tokens that are strictly more probable, plus one.",
    "finish_reason": "`stop` if the model ended the sample, `length` if `sample.max_tokens` did.",
    "accepted": "True if the next model may be trained on the sample.",
    "weight": "Weight of each of the sample's tokens in the training loss; 0 for a rejected sample.",
    "gate": "The reason of a rejection, or the remarks of the gates that passed the sample, joined by `; `.",
    "seed": "The sampling seed of this sample.",
    "ppl_under_base": "Perplexity of the sample under model 0; null where it has no tokens or `measure.drift` is off.",
}
METRICS = {
    "arm": "Name of the arm.",
    "generation": "Generation g; 0 is the base model.",
    "metric": "Name of the metric; suffixes such as `.torso` narrow it down.",
    "value": "The measured value.",
    "low": "Lower end of the 95% interval; null where there is none.",
    "high": "Upper end of the 95% interval; null where there is none.",
    "n": "Number of items behind the value; null where it is not a statistic of items.",
}
ANSWERS = {
    "question": "Identifies the question. Rows of one question in several formats are not independent.",
    "subject": "Subject of the question; head, torso or tail in a world.",
    "format": "Format of the question.",
    "gold": "Place of the right option, from 0.",
    "chosen": "Place of the option that the model finds most probable.",
    "logprobs": "Log-prob of each option in nats: the sum over the tokens of a letter, the mean over those of a text.",
    "greedy": "True if the chosen option is also the model's greedy continuation.",
    "complies": "True if the model's greedy first token begins a valid answer.",
    "confidence": "Share of the chosen option among the four.",
    "generated": "The sampled answer; null where none was sampled.",
    "generated_choice": "Option that the sampled answer names; null where it names none.",
    "generated_complies": "True if the sampled answer names a valid answer.",
    "entailment": "Probability that the sampled answer entails the right option; null without `questions.entailment`.",
    "bucket": "Class of a place by population: head, torso or tail; null for other questions.",
}
TRAINING = {
    "step": "Optimizer step of this generation, from 0.",
    "tokens": "Trained tokens of the step.",
    "loss": "Mean cross-entropy in nats, before the step.",
    "entropy": "Mean entropy in nats.",
    "varentropy": "Mean varentropy in nats².",
    "rank": "Mean rank of the trained token; 1 is the model's first choice.",
    "top1": "Share of tokens of rank 1.",
    "divergence": "Mean divergence from the reference of `[anchor]`, in nats; NaN without one.",
    "withheld": "Share of tokens whose loss was truncated, clipped or masked; NaN without such a setting.",
}
NUMBERS = {
    "sample_id": "Identifies the sample.",
    "values": "The numbers of a sample, in the order that `learner.json` states.",
    "seed": "Seed of the sample's draw.",
}
BROKEN = {
    "place": "Place of the document in the batch.",
    "text": "The document.",
    "token_ids": "The document as token ids.",
    "trained": "True for tokens that carry loss.",
    "logprob": "Log-prob of each token; null where it was not trained on or not reached.",
}
SCORE = {
    "document": "Name of the document.",
    "position": "Place of the token in its document, from 0.",
    "token_id": "The token's id.",
    "token": "The token as text.",
    "logprob": "Log-prob of the token in nats.",
    "entropy": "Entropy of the model's distribution at the token, in nats.",
    "varentropy": "Variance of the surprisal, in nats².",
    "max_prob": "Largest probability.",
    "mass_above": "Mass of the tokens that are strictly more probable.",
    "rank": "Number of tokens that are strictly more probable, plus one.",
    "ties": "Number of tokens as probable as this one, itself included.",
    "argmax": "Id of the most probable token.",
    "kl": "KL(model || reference) in nats; only with `--reference`.",
    "reverse_kl": "KL(reference || model) in nats; only with `--reference`.",
}


def corpus_columns() -> str:
    return _columns(corpus.SCHEMA, CORPUS)


def metrics_columns() -> str:
    return _columns(metrics_table.SCHEMA, METRICS)


def answers_columns() -> str:
    return _columns(answers.SCHEMA, ANSWERS)


def training_columns() -> str:
    return _columns(training.SCHEMA, TRAINING)


def numbers_columns() -> str:
    return _columns(numbers.SCHEMA, NUMBERS)


def broken_columns() -> str:
    return _columns(broken.SCHEMA, BROKEN)


def score_columns() -> str:
    from autophage.scoring.table import schema as score_schema  # brings torch

    return _columns(score_schema(with_reference=True), SCORE)


def _columns(schema: pa.Schema, meanings: Mapping[str, str]) -> str:
    if list(schema.names) != list(meanings):
        raise ValueError(
            f"columns {schema.names} are described as {list(meanings)}; mend docs/generate/column_reference.py"
        )
    return table(
        ["column", "type", "meaning"], [[f"`{one.name}`", _type(one.type), meanings[one.name]] for one in schema]
    )


def _type(kind: pa.DataType) -> str:
    return f"list of {kind.value_type}" if pa.types.is_list(kind) else str(kind)
