"""The questions of every generation: requests to the sampler, and answers with their scores.

Each question is scored in each format, option by option. With `questions.generate` the sampler also answers greedily, in
the batch of the corpus. All arms and generations answer the same questions. An answer is a function of the loaded weights.
`metrics.questions` turns answers into metrics.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from autophage.data.build import RawSource
from autophage.data.posing import Posed, bind_questions, read_questions
from autophage.data.tokens import decode
from autophage.errors import UserError
from autophage.progress import Meter
from autophage.recipe.schema import Recipe
from autophage.recipe.tables.model import FROM_SOURCE
from autophage.sampler.protocol import Completion, Decoding, Request
from autophage.store.answers import Answer
from autophage.trainer.answering import answers, choose, passes
from autophage.trainer.entailment import Entailment
from autophage.trainer.resident import ResidentModel


class Examination:
    """Put the questions of a recipe to the resident model and the sampler."""

    def __init__(self, recipe: Recipe, raw: RawSource, resident: ResidentModel) -> None:
        self._recipe, self._raw, self._resident = recipe, raw, resident
        self._table = recipe.questions

    @cached_property
    def posed(self) -> list[Posed]:
        """The questions in every format as token ids; none if the recipe asks none."""
        prompts = read_questions(self._recipe, self._raw)
        return bind_questions(prompts, self._raw, self._resident.tokenizer, self._recipe)

    @property
    def passes(self) -> int:
        """Number of sequences that the resident model scores for all questions."""
        return passes(self.posed)

    def longest(self, positions: int | None) -> int:
        """Return the number of tokens of the longest question with its answer; 0 without questions.

        The answer is an option or a sampled one. `positions` is the model's largest number of tokens, None if unknown.

        Raises:
            UserError: the model has fewer `positions`.
        """
        sampled = self._table.max_tokens if self._table.generate else 0
        longest = max((max(one.longest, len(one.prompt_ids) + sampled) for one in self.posed), default=0)
        if positions is not None and longest > positions:
            longer = " Or raise base.length." if self._recipe.model.path == FROM_SOURCE else ""
            raise UserError(
                f"a question with its answer takes {longest} tokens, but the model has {positions} positions. Remove few-shot "
                "from questions.formats, lower questions.shots or questions.max_tokens, or choose other "
                f"questions.subjects.{longer}"
            )
        return longest

    def requests(self, stop_ids: tuple[int, ...]) -> list[Request]:
        """Return requests for a greedy answer to each question in each format; none without `questions.generate`."""
        if not self._table.generate:
            return []
        greedy = Decoding(self._table.max_tokens, 0.0, 1.0, 0, stop_ids)
        return [Request(one.prompt_ids, 0, greedy) for one in self.posed]

    def answers(self, completions: Sequence[Completion], meter: Meter) -> list[Answer]:
        """Return the loaded model's answer to each question in each format; none without questions.

        `completions` are the sampler's answers to `requests`. `meter` counts sequences.
        """
        if not self.posed:
            return []
        choices = choose(self._resident, self.posed, meter)
        if not self._table.generate:
            return answers(self.posed, choices, None, None)
        written = [decode(self._resident.tokenizer, one.token_ids, special=False) for one in completions]
        right = [one.prompt.question.options[one.prompt.question.answer] for one in self.posed]
        entailed = self._entailment.probabilities(written, right) if self._entailment else None
        return answers(self.posed, choices, written, entailed)

    @cached_property
    def _entailment(self) -> Entailment | None:
        return Entailment(self._table.entailment) if self._table.entailment else None
