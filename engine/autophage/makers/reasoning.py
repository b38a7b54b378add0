"""`reasoning`: gaps in human sentences, each to be filled several times with the steps that lead there.

The answers of one question can be held against one another: with `[[gate]] kind = "consistency"` only those of the majority are
trained on, which is the filter of CoT-Self-Instruct (arXiv 2507.23751). There the model also invents the questions, and answers
them in a second round; here they come from human text, so that one round is enough.
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
    def conversations(self, passages: Passages, seed: int, count: int) -> list[Conversation]:
        questions = passages.once(_questions)
        wanted = -(-count // self.settings.answers)
        rng = generator(seed, "questions")
        drawn: list[str] = []
        while len(drawn) < wanted:
            drawn += rng.sample(questions, min(len(questions), wanted - len(drawn)))
        return [ask(f"{TASK}\n\n{question}") for question in drawn for _ in range(self.settings.answers)][:count]


def _questions(texts: list[str]) -> list[str]:
    """Each sentence once for each entity in it, which gives way to the gap."""
    found = describe(sentences_of(texts))
    questions = {
        re.sub(rf"\b{re.escape(name)}\b", GAP, sentence): None for name, where in found.items() for sentence in where
    }
    if not questions:
        raise UserError(
            'maker.kind = "reasoning": the text names nothing by capital letters, so nothing can be left out.'
        )
    return list(questions)
