"""Questions as token ids of a model's tokenizer.

A prompt becomes token ids and four continuations. A continuation is a letter or the text of an option. Only the
continuation's own tokens are scored. They are found by encoding the continuation together with the text before it,
because tokenizers place blanks differently. After `Answer:` a letter is " A", and at the start of an assistant's turn
it is "A". Either may be several tokens. This module knows neither models nor scoring.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autophage.data.chat_template import DEFAULTS, ChatTemplate
from autophage.data.mmlu import read_mmlu
from autophage.data.place_questions import read_places
from autophage.data.questions import OPEN, PROMPTS, Prompt
from autophage.data.source import Role
from autophage.data.tokens import start_ids
from autophage.data.world import World
from autophage.data.world_questions import world_prompts
from autophage.data.world_source import WorldSource
from autophage.errors import UserError
from autophage.recipe.schema import Recipe
from autophage.recipe.tables.model import ModelTable

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from autophage.data.build import RawSource


CHAT_KINDS = ("mmlu", "places")
"""Kinds of questions that may go through a chat template. Those about a world are in its own words."""
CLOZE = "cloze"
"""Format that is plain text for every model: a sentence is continued, and nobody is asked."""


@dataclass(frozen=True)
class Posed:
    """A four-way question as token ids of one model.

    Attributes:
        option_ids: Token ids of each of the four options, as continuations of the prompt.
        valid_first: First tokens of all answers of the requested kind, right or wrong.
    """

    prompt: Prompt
    prompt_ids: list[int]
    option_ids: tuple[list[int], ...]
    valid_first: frozenset[int]

    @property
    def longest(self) -> int:
        """Number of tokens of the prompt with its longest option."""
        return len(self.prompt_ids) + max(map(len, self.option_ids))


def read_questions(recipe: Recipe, raw: RawSource) -> list[Prompt]:
    """Return the knowledge questions of `recipe` as prompts, in each of its formats.

    `raw` provides the facts if the questions are about a world. The list is empty if the recipe asks no questions.

    Raises:
        UserError: The questions are not available as requested.
    """
    table = recipe.questions
    if table.kind == "none":
        return []
    if table.kind == "world":
        assert isinstance(raw.content, World)
        return world_prompts(raw.content, table)
    if table.kind == "places":
        return read_places(table)
    questions = read_mmlu(table)
    return [
        Prompt(question, form, PROMPTS[form](question), form != "short-answer", question.options)
        for form in table.formats
        for question in questions
    ]


def questions_digest(prompts: Sequence[Prompt]) -> str | None:
    """Return the SHA-256 of all prompts in hexadecimal, or None without prompts."""
    if not prompts:
        return None
    questions = [prompt.question for prompt in prompts]
    graded = [(one.bucket, one.endings, one.aliases) for one in questions]
    more = repr(graded) if any(one.bucket for one in questions) else ""
    return hashlib.sha256((repr(prompts) + more).encode("utf-8", "surrogatepass")).hexdigest()


def bind_questions(
    prompts: Sequence[Prompt], raw: RawSource, tokenizer: PreTrainedTokenizerBase, recipe: Recipe
) -> list[Posed]:
    """Return each of `prompts` with its answer options as token ids of `tokenizer`, in the order given."""
    if not prompts:
        return []
    if recipe.questions.kind == "world":
        assert isinstance(raw.content, World)
        source = WorldSource(raw.content, tokenizer)
        return [_in_words(prompt, source) for prompt in prompts]
    asks = _Turns(tokenizer, recipe.model) if in_chat(recipe, tokenizer) else _Plain(tokenizer)
    continues = _Plain(tokenizer, before="in")
    return [(continues if prompt.format == CLOZE else asks).pose(prompt) for prompt in prompts]


def in_chat(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return True if questions go through the model's chat template, as `questions.chat` decides.

    Raises:
        UserError: The recipe requires the template, and the model has none.
    """
    asked, has_template = recipe.questions.chat, bool(getattr(tokenizer, "chat_template", None))
    if asked is True and recipe.questions.kind in CHAT_KINDS and not has_template:
        raise UserError(
            f"questions.chat = true: the model {recipe.model.path!r} has no chat template. "
            'Use chat = "auto" or false, or an instruction-tuned model.'
        )
    return has_template if asked == "auto" else asked


def _in_words(prompt: Prompt, source: WorldSource) -> Posed:
    ids, _ = source.encode([(word, Role.FORM) for word in prompt.text.split()])
    options = tuple(source.encode_word(option, first=False) for option in prompt.question.options)
    valid = frozenset(source.encode_word(value, first=False)[0] for value in prompt.valid)
    return Posed(prompt, source.start_ids + ids, options, valid)


class _Plain:
    """Encodes questions as plain text after the start token. An answer follows a blank.

    `before` is the text that precedes every answer.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, before: str = OPEN, blank: str = " ") -> None:
        self._tokenizer = tokenizer
        self._before, self._blank = before, blank
        self._known: dict[str, list[int]] = {}

    def pose(self, prompt: Prompt) -> Posed:
        options = tuple(self._continuation(answer) for answer in prompt.answers)
        others = prompt.valid if not prompt.lists_options else ()
        valid = frozenset(ids[0] for ids in (*options, *(self._continuation(other) for other in others)))
        return Posed(prompt, self.prompt_ids(prompt.text), options, valid)

    def prompt_ids(self, text: str) -> list[int]:
        return start_ids(self._tokenizer) + self._encode(text)

    def _continuation(self, answer: str) -> list[int]:
        text = self._blank + answer.strip()
        if text not in self._known:
            before, both = self._around(self._before), self._around(self._before + text)
            # A tokenizer may merge the two. Then no token border separates them.
            joined = both[: len(before)] != before or len(both) == len(before)
            self._known[text] = self._encode(text) if joined else both[len(before) :]
        return self._known[text]

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        return ids

    def _around(self, text: str) -> list[int]:
        """Encode the text before an answer, with or without the answer."""
        return self._encode(text)


class _Turns(_Plain):
    """Encodes questions as a user's turn in the model's chat template. An answer opens the assistant's turn."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, model: ModelTable = DEFAULTS) -> None:
        self._template = ChatTemplate(tokenizer, model)
        super().__init__(tokenizer, self._template.text([{"role": "user", "content": OPEN}]), blank="")

    def prompt_ids(self, text: str) -> list[int]:
        return self._template.ids([{"role": "user", "content": text}])

    def _around(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False, split_special_tokens=False)
        return ids
