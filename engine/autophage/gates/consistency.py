"""`consistency`: of several answers to one prompt it keeps the majority's (the filter of CoT-Self-Instruct, arXiv 2507.23751).

Nobody needs to know the right answer: a model that has an answer for a reason gives it more often than any other one. Prompts
are compared by their tokens; `[maker] kind = "reasoning"` asks each several times.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from autophage.gates.protocol import Context, Gate, Verdict, abstain, accept, reject
from autophage.recipe.tables.table import Fraction
from autophage.store.corpus import Sample


class Consistency(Gate):
    kind: Literal["consistency"] = Field("consistency", description="which gate")
    marker: str = Field(
        "Answer:", min_length=1, description="what stands before an answer; the last one of a text counts"
    )
    least: Fraction = Field(0.5, description="share of a prompt's answers that must agree, texts without one included")

    def judge(self, samples: Sequence[Sample], context: Context) -> list[Verdict]:
        given = [self._answer(sample.text) for sample in samples]
        asked = [tuple(sample.prompt_ids) for sample in samples]
        answers: dict[tuple[int, ...], list[str]] = {}
        for prompt, answer in zip(asked, given, strict=True):
            answers.setdefault(prompt, []).append(answer)
        agreed = {prompt: self._majority(those) for prompt, those in answers.items()}
        return [
            abstain("asked once") if len(answers[prompt]) == 1 else _verdict(answer, agreed[prompt])
            for prompt, answer in zip(asked, given, strict=True)
        ]

    def _answer(self, text: str) -> str:
        """What follows the last marker in its line, but for case, blanks and a full stop; empty where there is none."""
        _, found, rest = text.rpartition(self.marker)
        return " ".join(rest.strip().partition("\n")[0].casefold().split()).rstrip(".") if found else ""

    def _majority(self, answers: Sequence[str]) -> str:
        """The answer that more samples give than any other, and enough of them; empty where there is none."""
        ranked = Counter(answer for answer in answers if answer).most_common(2)
        if not ranked or ranked[0][1] < self.least * len(answers):
            return ""
        tied = len(ranked) == 2 and ranked[0][1] == ranked[1][1]
        return "" if tied else ranked[0][0]


def _verdict(answer: str, agreed: str) -> Verdict:
    if not answer:
        return reject("no answer")
    if not agreed:
        return reject("no majority")
    return accept() if answer == agreed else reject("not the majority's answer")
