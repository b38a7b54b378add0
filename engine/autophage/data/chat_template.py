"""A model's chat template as token ids of conversations.

A template may read a clock, and may have switches such as `enable_thinking`. The clock is fixed by the recipe
(`model.date`): what is asked of a model must not depend on the day. Switches are set by the recipe too
(`model.chat_template_kwargs`). The template's control tokens are encoded as such. Those that a message names in its
content are plain text, so that a text can neither close a turn nor open one.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from autophage.data.tokens import control_words
from autophage.errors import foreign_errors
from autophage.recipe.tables.model import ModelTable

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Message = Mapping[str, str]
THINKING = re.compile(r"\b(enable_thinking|thinking|reasoning_effort)\b")
"""Names under which templates let a caller decide whether the model thinks before it answers."""
EFFORT = "reasoning_effort"
"""The switch whose values are words and not true or false."""
DEFAULTS = ModelTable()


class ChatTemplate:
    """The chat template of `tokenizer`, with the settings of a recipe's `[model]`."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, model: ModelTable = DEFAULTS) -> None:
        self._tokenizer = tokenizer
        today = datetime.datetime.fromisoformat(model.date)
        self._arguments: dict[str, Any] = {"strftime_now": today.strftime, **model.template_arguments}

    def ids(self, messages: Sequence[Message]) -> list[int]:
        """Return the token ids of a conversation, open for the assistant's turn.

        Templates without a system role get the system message in the user's turn.
        """
        from jinja2.exceptions import TemplateError

        try:
            return self._encode(messages)
        except TemplateError:
            merged = "\n\n".join(message["content"] for message in messages)
            with foreign_errors(
                "the model's chat template cannot be used",
                'Mend it in tokenizer_config.json or chat_template.jinja, or do without: sample.prompts = "blocks".',
            ):
                return self._encode([{"role": "user", "content": merged}])

    def text(self, messages: Sequence[Message]) -> str:
        """Return a conversation as text, open for the assistant's turn."""
        given: Any = [dict(message) for message in messages]
        return str(
            self._tokenizer.apply_chat_template(given, add_generation_prompt=True, tokenize=False, **self._arguments)
        )

    def _encode(self, messages: Sequence[Message]) -> list[int]:
        rendered = self.text(messages)
        reserved = [*self._tokenizer.get_added_vocab(), *self._tokenizer.all_special_tokens]
        marks = {
            message["content"]: f"\ue000{place}\ue001"
            for place, message in enumerate(messages)
            if control_words(reserved, [message["content"]])
        }
        if not marks:
            return self._pieces(rendered, plain=False)
        contents = {mark: content for content, mark in marks.items()}
        masked = self.text([{**one, "content": marks.get(one["content"], one["content"])} for one in messages])
        ids: list[int] = []
        for piece in re.split("(\ue000[0-9]+\ue001)", masked):
            content = contents.get(piece, piece)
            # A template that does not repeat a content as it is strips it.
            ids += self._pieces(content if content in rendered else content.strip(), plain=piece in contents)
        return ids

    def _pieces(self, text: str, *, plain: bool) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False, split_special_tokens=plain)
        return ids


def template_notes(tokenizer: PreTrainedTokenizerBase, model: ModelTable) -> list[str]:
    """Return messages for the user about switches and a clock of the model's chat template that the recipe leaves alone."""
    template = str(getattr(tokenizer, "chat_template", None) or "")
    notes = []
    given = set(model.template_arguments)
    switches = sorted(set(THINKING.findall(template)) - given)
    if switches:
        value = "low" if switches[0] == EFFORT else "false"
        notes.append(
            f"the chat template of {model.path} has the switch {switches[0]}, which the recipe does not set. Set it with "
            f"`--set 'model.chat_template_kwargs=[\"{switches[0]}={value}\"]'`"
        )
    if unknown := sorted(name for name in given if not re.search(rf"\b{re.escape(name)}\b", template)):
        notes.append(f"the chat template of {model.path} has no {unknown[0]}, which model.chat_template_kwargs sets")
    if "strftime_now" in template and "date" not in model.model_fields_set:
        notes.append(f"the chat template of {model.path} asks for the date. It is given {model.date} (model.date)")
    return notes
