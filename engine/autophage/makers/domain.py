"""`domain`: user-written prompts, each with the placeholder {passage} for a human passage.

With `mix.domain` the passages are those that contain one of its keywords.
"""

from __future__ import annotations

from autophage.data.passages import Conversation, Passages
from autophage.makers.protocol import Maker, ask
from autophage.seeds import generator


class Domain(Maker):
    """Maker `domain`. A prompt is a random template of `maker.templates`, filled with a random human passage."""

    def conversations(self, passages: Passages, seed: int, count: int) -> list[Conversation]:
        rng = generator(seed, "templates")
        return [
            ask(rng.choice(self.settings.templates).format(passage=passage), self.settings.system)
            for passage in passages.draw(seed, count)
        ]
