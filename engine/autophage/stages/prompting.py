"""The requests to the sampler for one generation: documents of the corpus, then answers to questions."""

from __future__ import annotations

from functools import cached_property

from autophage.data.build import prompt_style
from autophage.data.mix import prompt_ids
from autophage.recipe.arms import Arm
from autophage.recipe.schema import Recipe
from autophage.recipe.tables.sample import MADE
from autophage.sampler.protocol import Decoding, Request
from autophage.seeds import derive
from autophage.stages.examination import Examination
from autophage.stages.sources import Sources
from autophage.trainer.resident import ResidentModel

PROMPT_SLACK = 1.25
"""Chat prompts are decoded and tokenized again, so later ones may be longer than the first."""


class Prompting:
    """Derive the sampler's prompts, seeds and decoding from (arm, generation)."""

    def __init__(self, resident: ResidentModel, sources: Sources, examination: Examination) -> None:
        self._resident = resident
        self._sources = sources
        self._examination = examination

    def requests(self, arm: Arm, generation: int) -> list[Request]:
        """Return the requests to model `generation` of an arm: its documents, then its questions if it is measured."""
        documents = self.documents(arm, generation)
        if not arm.recipe.measures_model(generation):
            return documents
        return documents + self._examination.requests(self._end_ids)

    def documents(self, arm: Arm, generation: int) -> list[Request]:
        """Return the requests for the documents of corpus `generation`, each with its own seed."""
        return [
            Request(prompt, derive(arm.recipe.seed, "sample", arm.name, generation, index))
            for index, prompt in enumerate(prompt_ids(self._sources.of(arm.recipe), arm.recipe, generation))
        ]

    def decoding(self, arm: Arm) -> Decoding:
        """Return the decoding settings of an arm's documents."""
        sample = arm.recipe.sample
        return Decoding(
            max_tokens=arm.recipe.max_tokens,
            temperature=sample.temperature,
            top_p=sample.top_p,
            top_k=sample.top_k,
            stop_ids=self._end_ids if arm.recipe.samples_end else (),
            repetition_penalty=sample.repetition_penalty,
            beams=sample.beams,
        )

    def longest(self, recipe: Recipe) -> int:
        """Return the number of tokens of a recipe's longest prompt with its sample.

        Chat prompts of later generations may be longer, so their length has a margin.
        """
        longest = max(len(prompt) for prompt in prompt_ids(self._sources.of(recipe), recipe, 0))
        if prompt_style(recipe, self._resident.tokenizer) in ("instruct", MADE):
            longest = round(longest * PROMPT_SLACK)
        return longest + recipe.max_tokens

    @cached_property
    def _end_ids(self) -> tuple[int, ...]:
        """Ids of the tokens that end a text or a turn of the model."""
        configured = getattr(self._resident.generation_config, "eos_token_id", None)
        ends = {self._resident.tokenizer.eos_token_id, *(configured if isinstance(configured, list) else [configured])}
        return tuple(sorted(ends - {None}))
