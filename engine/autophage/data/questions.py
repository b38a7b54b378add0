"""Four-way questions, and MMLU's ways of asking them: those of Knowledge Collapse in LLMs (arXiv 2509.04796), to the character.

A question has a text, four options and one right answer; a format makes a prompt of it. Knows text only: where questions
come from is told by `mmlu` and `world_questions`, what becomes of them under a tokenizer by `posing`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from autophage.errors import UserError
from autophage.recipe.keys import meant_choice

LETTERS = ("A", "B", "C", "D")
OPEN = "Answer:"
"""What every prompt in plain text ends with."""


@dataclass(frozen=True)
class Question:
    """`answer` is the right option's place. `shots` are answered questions of the subject, for a few-shot prompt."""

    id: str
    subject: str
    text: str
    options: tuple[str, str, str, str]
    answer: int
    shots: tuple[Question, ...] = ()


@dataclass(frozen=True)
class Prompt:
    """A question in one format. `letters`: whether a letter answers it, or the text of an option.

    `valid` are the texts that would be an answer of the kind asked for, right or wrong: the options, or more than these
    where the prompt does not list them.
    """

    question: Question
    format: str
    text: str
    letters: bool
    valid: tuple[str, ...]


def multiple_choice(question: Question) -> str:
    return f"{_heading(question)}{no_instruction(question)}"


def no_instruction(question: Question) -> str:
    options = "".join(f"{letter}. {text}\n" for letter, text in zip(LETTERS, question.options, strict=True))
    return f"{question.text}\n{options}{OPEN}"


def short_answer(question: Question) -> str:
    about = f"Give a short answer to the following question about {_name(question)}.\n\n"
    return f"{about}{question.text}\n{' / '.join(question.options)}\n{OPEN}"


def few_shot(question: Question) -> str:
    shots = "\n\n".join(
        f"Q: {shot.text}\n{OPEN} {LETTERS[shot.answer]}. {shot.options[shot.answer]}" for shot in question.shots
    )
    options = "  ".join(f"({letter}) {text}" for letter, text in zip(LETTERS, question.options, strict=True))
    return f"{_heading(question)}{shots}\n\nQ: {question.text}\n{options}\n{OPEN}"


PROMPTS: dict[str, Callable[[Question], str]] = {
    "multiple-choice": multiple_choice,
    "few-shot": few_shot,
    "short-answer": short_answer,
    "no-instruction": no_instruction,
}


def _heading(question: Question) -> str:
    return f"The following are multiple choice questions (with answers) about {_name(question)}.\n\n"


def _name(question: Question) -> str:
    return question.subject.replace("_", " ").lower()


def require_subjects(wanted: Sequence[str], there: Sequence[str]) -> None:
    """Raises:
    UserError: one of `wanted` is not `there`; the message says what is, and what was probably meant.
    """
    for subject in wanted:
        if subject not in there:
            meant = meant_choice(subject, there)
            guess = f"did you mean {meant[0]!r}? " if meant else ""
            raise UserError(
                f"questions.subjects: there is no subject {subject!r}; {guess}There are: {', '.join(there)}."
            )
