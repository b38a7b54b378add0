"""`consistency`: of several answers to one prompt, keeps the majority's (CoT-Self-Instruct, arXiv 2507.23751).

The gate needs no right answers. A model that has a reason for an answer gives it more often than any other. Prompts
are equal if their tokens are. `[maker] kind = "reasoning"` asks each prompt several times.
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
    """Gate `consistency` with its settings. It keeps samples with the majority's answer to their prompt."""

    kind: Literal["consistency"] = Field("consistency", description="name of the gate")
    marker: str = Field(
        "Answer:", min_length=1, description="text before an answer; its last occurrence in a sample counts"
    )
    least: Fraction = Field(
        0.5,
        description="minimum share of a prompt's samples that agree; samples without an answer count as disagreeing",
    )

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
        """Return the answer in a sample: the text after the last marker, up to the end of that line.

        Case, runs of blanks and a final full stop are removed. The answer is empty without a marker.
        """
        _, found, rest = text.rpartition(self.marker)
        return " ".join(rest.strip().partition("\n")[0].casefold().split()).rstrip(".") if found else ""

    def _majority(self, answers: Sequence[str]) -> str:
        """Return the most frequent of the answers to one prompt.

        The result is an empty string if two answers tie or if the share of the first is below `least`.
        """
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
