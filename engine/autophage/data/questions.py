"""Four-way questions in the prompt formats of Knowledge Collapse in LLMs (arXiv 2509.04796).

The formats match the paper to the character. A question has a text, four options and one right answer. A format turns
it into a prompt. This module knows text only. `mmlu` and `world_questions` make questions, and `posing` tokenizes
prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from autophage.errors import UserError
from autophage.recipe.keys import meant_choice
from autophage.recipe.tables.questions import OPEN_FORMATS

LETTERS = ("A", "B", "C", "D")
OPEN = "Answer:"
"""End of every plain-text prompt."""


@dataclass(frozen=True)
class Question:
    """A question with four options.

    Attributes:
        answer: Index of the right option, 0 to 3.
        shots: Answered questions of the same subject, for few-shot prompts.
        bucket: Frequency class of what is asked: "head", "torso" or "tail". None if the questions have no classes.
        statement: Beginning of a sentence that an answer ends, for the format cloze. Empty if there is none.
        endings: The options as they end `statement`. Empty if they are the options themselves.
        aliases: Other names of each option, which a written answer may use. Empty without any.
    """

    id: str
    subject: str
    text: str
    options: tuple[str, str, str, str]
    answer: int
    shots: tuple[Question, ...] = ()
    # The digest of questions hashes these apart, so that questions without them keep theirs.
    bucket: str | None = field(default=None, repr=False)
    statement: str = field(default="", repr=False)
    endings: tuple[str, ...] = field(default=(), repr=False)
    aliases: tuple[tuple[str, ...], ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Prompt:
    """A question as prompt text in one format.

    Attributes:
        letters: True if the expected answer is a letter, False if it is the text of an option.
        valid: Every answer of the requested kind, right or wrong. There are more than the four options if the prompt
            lists none.
    """

    question: Question
    format: str
    text: str
    letters: bool
    valid: tuple[str, ...]

    @property
    def answers(self) -> tuple[str, ...]:
        """The four answers as they follow the prompt: letters, or texts."""
        if self.letters:
            return LETTERS
        return self.question.endings if self.format == "cloze" else self.question.options

    @property
    def lists_options(self) -> bool:
        return self.format not in OPEN_FORMATS


def multiple_choice(question: Question) -> str:
    """Return a prompt: a heading that names the subject, the question, lettered options, and an open answer."""
    return f"{_heading(question)}{no_instruction(question)}"


def no_instruction(question: Question) -> str:
    """Return a prompt without a heading: the question, lettered options, and an open answer."""
    options = "".join(f"{letter}. {text}\n" for letter, text in zip(LETTERS, question.options, strict=True))
    return f"{question.text}\n{options}{OPEN}"


def short_answer(question: Question) -> str:
    """Return a prompt for an answer in words: the question, its options without letters, and an open answer."""
    about = f"Give a short answer to the following question about {_name(question)}.\n\n"
    return f"{about}{question.text}\n{' / '.join(question.options)}\n{OPEN}"


def few_shot(question: Question) -> str:
    """Return a prompt: a heading, the answered questions `question.shots`, then the question with an open answer."""
    shots = "\n\n".join(
        f"Q: {shot.text}\n{OPEN} {LETTERS[shot.answer]}. {shot.options[shot.answer]}" for shot in question.shots
    )
    options = "  ".join(f"({letter}) {text}" for letter, text in zip(LETTERS, question.options, strict=True))
    return f"{_heading(question)}{shots}\n\nQ: {question.text}\n{options}\n{OPEN}"


def question_answer(question: Question) -> str:
    """Return a prompt for an answer in words: the question alone, and an open answer."""
    return f"Question: {question.text}\n{OPEN}"


def cloze(question: Question) -> str:
    """Return the beginning of a sentence that the answer ends."""
    return question.statement


PROMPTS: dict[str, Callable[[Question], str]] = {
    "multiple-choice": multiple_choice,
    "few-shot": few_shot,
    "short-answer": short_answer,
    "no-instruction": no_instruction,
    "question-answer": question_answer,
    "cloze": cloze,
}


def _heading(question: Question) -> str:
    return f"The following are multiple choice questions (with answers) about {_name(question)}.\n\n"


def _name(question: Question) -> str:
    return question.subject.replace("_", " ").lower()


def require_subjects(wanted: Sequence[str], there: Sequence[str]) -> None:
    """Check that every subject in `wanted` is one of the known subjects `there`.

    Raises:
        UserError: A wanted subject is unknown. The message lists the known ones and suggests a similar one.
    """
    for subject in wanted:
        if subject not in there:
            meant = meant_choice(subject, there)
            guess = f"did you mean {meant[0]!r}? " if meant else ""
            raise UserError(
                f"questions.subjects: there is no subject {subject!r}; {guess}There are: {', '.join(there)}."
            )
