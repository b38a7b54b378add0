"""The human data of a run, bound to the model's tokenizer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autophage.data.build import RawSource, bind, prompt_style
from autophage.data.source import Source
from autophage.makers import make_maker
from autophage.recipe.arms import with_values
from autophage.recipe.schema import Recipe
from autophage.recipe.tables.mix import ALL

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Sources:
    """Bind one raw source once per style of prompts and domain. Arms that agree on both share a source."""

    def __init__(self, recipe: Recipe, raw: RawSource, tokenizer: PreTrainedTokenizerBase) -> None:
        self._raw = raw
        self._tokenizer = tokenizer
        self._bound: dict[tuple[str | int, ...], Source] = {}
        self.whole = self.of(with_values(recipe, {"mix.domain": ALL}))
        """The source with all domains. Probes and held-out text come from it."""

    def of(self, recipe: Recipe) -> Source:
        """Return the source bound to the prompts and the domain of an arm's recipe."""
        sample, maker = recipe.sample, recipe.maker.model_dump_json()
        key = (prompt_style(recipe, self._tokenizer), sample.system, sample.annotation, maker, recipe.mix.domain)
        if key not in self._bound:
            prompter = make_maker(recipe.maker) if recipe.has_maker else None
            earlier = next(iter(self._bound.values()), None)
            self._bound[key] = bind(self._raw, self._tokenizer, recipe, maker=prompter, earlier=earlier)
        return self._bound[key]
