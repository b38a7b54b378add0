"""Four-way questions to the resident model: the chosen option and its confidence.

    letter    v = log P(letter)              summed over its tokens, mostly one
    text      v = mean log P(token)          the log of the geometric mean: length does not decide

The model chooses the option with the largest v, the first of equals. Its `confidence` is exp(v_k) / sum_j exp(v_j).
A choice is `greedy` if each of its tokens has the largest probability in its place. An answer `complies` if the model's
most probable token begins a valid answer. Valid answers are the four options. A prompt that does not list its options
accepts every answer of their kind. If all four options begin alike, the greedy tokens must follow one of them to the
first difference.

A prompt with one-token options takes one forward pass. Other prompts take one pass per option.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from autophage.data.parsing import named_letter, named_of, named_option
from autophage.data.posing import Posed
from autophage.data.questions import Prompt
from autophage.metrics.scored import Scored, log_probs
from autophage.progress import Meter
from autophage.store.answers import Answer
from autophage.trainer.resident import ResidentModel


@dataclass(frozen=True)
class Choice:
    """The model's choice among the four options of one question."""

    logprobs: tuple[float, ...]
    """Log-prob v of each option in nats: the sum over a letter's tokens, the mean over those of a text."""
    chosen: int
    """Index of the option with the largest v, the first of equals."""
    greedy: bool
    """True if each token of the chosen option is the most probable one in its place."""
    complies: bool
    """True if the model's most probable token begins a valid answer."""
    confidence: float
    """Softmax of `logprobs` at the chosen option."""


@dataclass(frozen=True)
class _Option:
    """Log-probs of one option's tokens, the most probable token ids in their places, and True where both ids agree."""

    logprob: np.ndarray
    argmax: np.ndarray
    hits: np.ndarray


def passes(posed: Sequence[Posed]) -> int:
    """Count the sequences that `choose` scores: one for a question with one-token options, otherwise one per option."""
    return sum(1 if _is_short(one) else len(one.option_ids) for one in posed)


def choose(resident: ResidentModel, posed: Sequence[Posed], meter: Meter) -> list[Choice]:
    """Return the choice of the loaded model for each question, in order. `meter` counts scored sequences."""
    short = [one for one in posed if _is_short(one)]
    long = [one for one in posed if not _is_short(one)]
    firsts = [[ids[0] for ids in one.option_ids] for one in short]
    together = resident.score_choices([one.prompt_ids for one in short], firsts, meter)
    sequences = [one.prompt_ids + ids for one in long for ids in one.option_ids]
    contexts = [len(one.prompt_ids) for one in long for _ in one.option_ids]
    apart = resident.score(sequences, contexts, meter)
    options = {True: _of_one_row(together, firsts), False: _of_sequences(apart, long)}
    return [_choice(one, next(options[_is_short(one)])) for one in posed]


def answers(
    posed: Sequence[Posed],
    choices: Sequence[Choice],
    written: Sequence[str] | None,
    entailed: Sequence[float] | None,
) -> list[Answer]:
    """Combine questions, choices and sampled answers into one stored `Answer` per question, in order.

    Args:
        written: Sampled answers; None if the recipe samples none.
        entailed: Probability that a sampled answer entails the right one; None without a classifier.
    """
    nothing: Sequence[None] = [None] * len(posed)
    return [
        Answer(
            question=one.prompt.question.id,
            subject=one.prompt.question.subject,
            format=one.prompt.format,
            gold=one.prompt.question.answer,
            generated=text,
            generated_choice=None if text is None else _named(one, text),
            generated_complies=None if text is None else _valid(one, text),
            entailment=entailment,
            bucket=one.prompt.question.bucket,
            **vars(choice),
        )
        for one, choice, text, entailment in zip(posed, choices, written or nothing, entailed or nothing, strict=True)
    ]


def _named(posed: Posed, text: str) -> int | None:
    """Return the option that a sampled answer names; None if it names none, several, or something else."""
    prompt, options = posed.prompt, posed.prompt.question.options
    if prompt.letters:
        return named_letter(text)
    if not prompt.question.aliases:
        return named_option(text, options)
    found = named_of(text, _names(prompt))
    return found if found is not None and found < len(options) else None


def _valid(posed: Posed, text: str) -> bool:
    prompt = posed.prompt
    if prompt.letters:
        return named_letter(text) is not None
    return (named_of(text, _names(prompt)) if prompt.question.aliases else named_option(text, prompt.valid)) is not None


def _names(prompt: Prompt) -> list[tuple[int, str]]:
    """Return the names of the options by their indices, then those of other valid answers by higher numbers."""
    question = prompt.question
    own = [
        (place, name) for place, option in enumerate(question.options) for name in (option, *question.aliases[place])
    ]
    known = {name for _, name in own}
    others = [name for name in prompt.valid if name not in known]
    return [*own, *enumerate(others, start=len(question.options))]


def _is_short(posed: Posed) -> bool:
    return all(len(ids) == 1 for ids in posed.option_ids)


def _of_one_row(scored: Sequence[Scored], firsts: Sequence[Sequence[int]]) -> Iterator[list[_Option]]:
    for one, tokens in zip(scored, firsts, strict=True):
        values, hits = log_probs(one), one.argmax == np.asarray(tokens)
        ends = range(1, len(tokens) + 1)
        yield [_Option(values[end - 1 : end], one.argmax[end - 1 : end], hits[end - 1 : end]) for end in ends]


def _of_sequences(scored: Sequence[Scored], posed: Sequence[Posed]) -> Iterator[list[_Option]]:
    following = iter(scored)
    for one in posed:
        found = [(next(following), ids) for ids in one.option_ids]
        yield [_Option(log_probs(stats), stats.argmax, stats.argmax == np.asarray(ids)) for stats, ids in found]


def _choice(posed: Posed, options: Sequence[_Option]) -> Choice:
    values = np.array([option.logprob.sum() if posed.prompt.letters else option.logprob.mean() for option in options])
    chosen = int(values.argmax())
    shares = np.exp(values - values.max())
    return Choice(
        logprobs=tuple(values.tolist()),
        chosen=chosen,
        greedy=bool(options[chosen].hits.all()),
        complies=_complies(posed, options),
        confidence=float(shares[chosen] / shares.sum()),
    )


def _complies(posed: Posed, options: Sequence[_Option]) -> bool:
    common = _common(posed.option_ids)
    if common == 0:
        return int(options[0].argmax[0]) in posed.valid_first
    return any(bool(option.hits[: common + 1].all()) for option in options)


def _common(option_ids: Sequence[Sequence[int]]) -> int:
    """Count the leading token ids that all options share, at most the length of the shortest option minus 1."""
    shortest = min(map(len, option_ids))
    return next((place for place in range(shortest) if len({ids[place] for ids in option_ids}) > 1), shortest - 1)
