"""`reasoning`: cloze questions from human sentences, each asked several times with a request for steps.

The answers to one question can be compared. `[[gate]] kind = "consistency"` keeps only those of the majority, which
is the filter of CoT-Self-Instruct (arXiv 2507.23751). In the paper the model also invents the questions and answers
them in a second round. Here questions come from human text, so one round is enough.
"""

from __future__ import annotations

import re

from autophage.data.passages import Conversation, Passages
from autophage.errors import UserError
from autophage.makers.entities import describe, sentences_of
from autophage.makers.protocol import Maker, ask
from autophage.seeds import generator

GAP = "____"
TASK = 'Which name belongs in the gap? Think step by step, and write the name on the last line, as in "Answer: ...".'


class Reasoning(Maker):
    """Maker `reasoning`. A prompt is a human sentence with a gap. Each is asked `maker.answers` times."""

    def conversations(self, passages: Passages, seed: int, count: int) -> list[Conversation]:
        questions = passages.once(_questions)
        wanted = -(-count // self.settings.answers)
        rng = generator(seed, "questions")
        drawn: list[str] = []
        while len(drawn) < wanted:
            drawn += rng.sample(questions, min(len(questions), wanted - len(drawn)))
        return [ask(f"{TASK}\n\n{question}") for question in drawn for _ in range(self.settings.answers)][:count]


def _questions(texts: list[str]) -> list[str]:
    """Return questions from passages: each sentence once per entity in it, with a gap in the entity's place.

    Raises:
        UserError: The passages name no entity.
    """
    found = describe(sentences_of(texts))
    questions = {
        re.sub(rf"\b{re.escape(name)}\b", GAP, sentence): None for name, where in found.items() for sentence in where
    }
    if not questions:
        raise UserError(
            'maker.kind = "reasoning": the text has no capitalised name to leave a gap for. Give another text.'
        )
    return list(questions)
