"""`verifier`: keeps right samples, as a checker or a judge model decides.

The gate implements Beyond Model Collapse (arXiv 2406.07515).

Right samples are kept at the rate phi = `keep_right`, wrong ones at psi = `keep_wrong`. Let p be the error rate of
the samples. Training on the kept samples recovers if p < p* = 1 / (1 + psi / phi), and collapses above p*. A sample
that cannot be checked passes and is counted, or is rejected.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, field_validator

from autophage.gates.answers import Checker, exact_checker, numeric_checker, read_answers
from autophage.gates.by_model import ruled
from autophage.gates.protocol import Context, Gate, Verdict, abstain, accept, reject
from autophage.recipe.settings import Settings
from autophage.recipe.tables.table import Fraction, PathText, Positive
from autophage.seeds import generator
from autophage.store.corpus import Sample

if TYPE_CHECKING:
    from autophage.gates.served import ServedJudge

QUESTION = "Here is a text.\n\n{prompt}{text}\n\nIs everything that it states correct? Answer with one word: yes or no."
TEXT = "{text}"
PLACE = re.compile(r"\{(?:text|prompt)\}")
ADDRESS = re.compile(r"https?://[^\s/@]+(/\S*)?")
UNREAD, UNCLEAR = "nothing to check", "neither yes nor no"


class Verifier(Gate):
    """Gate `verifier` with its settings. It keeps right samples, as a check or a judge model decides."""

    kind: Literal["verifier"] = Field("verifier", description="name of the gate")
    check: Literal["world", "regex", "exact", "numeric", "judge"] = Field(
        "world",
        description="world: every statement agrees with the facts; regex: `pattern` occurs; exact: the sample equals the answer "
        "to its prompt, ignoring case and blanks; numeric: the last number equals the answer's; judge: a served model says yes",
    )
    pattern: str | None = Field(
        None, min_length=1, description="regex: regular expression that a right sample contains"
    )
    answers: PathText | None = Field(
        None, description='exact, numeric: file with one JSON object per line, {"prompt": ..., "answer": ...}'
    )
    tolerance: float = Field(1e-6, ge=0.0, description="numeric: maximum relative error")
    server: str | None = Field(
        None, description="judge: address of an OpenAI-compatible server such as `vllm serve`: http://localhost:8000/v1"
    )
    model: str | None = Field(
        None, min_length=1, description="judge: name of the model; leave it out if the server has a single model"
    )
    question: str = Field(QUESTION, description="judge: the question; {text} is the sample, {prompt} is its prompt")
    longest: Positive = Field(16, description="judge: maximum tokens of an answer; its last yes or no counts")
    unread: Literal["pass", "reject"] = Field("pass", description="treatment of samples that cannot be checked")
    keep_right: Fraction = Field(1.0, description="rate at which right samples are kept (phi)")
    keep_wrong: Fraction = Field(0.0, description="rate at which wrong samples are kept (psi)")
    paths: ClassVar[tuple[str, ...]] = ("answers",)

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"not a regular expression ({error})") from None
        return pattern

    @field_validator("question")
    @classmethod
    def _asks(cls, question: str) -> str:
        if TEXT not in question:
            raise ValueError(f"lacks {TEXT}, the place of the sample")
        return question

    @field_validator("server")
    @classmethod
    def _is_address(cls, server: str | None) -> str | None:
        if server is not None and not ADDRESS.fullmatch(server):
            raise ValueError(
                "not the address of a server, such as http://localhost:8000/v1 (without user and password)"
            )
        return server

    def unfit(self, settings: Settings) -> tuple[str, ...]:
        if self.check == "world" and settings.source.kind != "world":
            remedy = 'write check = "regex" with a pattern, or "exact" or "numeric" with answers'
            return ('check = "world" needs the facts of a world, and the source is not a world', remedy)
        if self.check == "regex" and self.pattern is None:
            return ('check = "regex" needs a pattern', "write, for example: pattern = '\\d+'")
        if self.check in ("exact", "numeric") and self.answers is None:
            return (f'check = "{self.check}" needs answers', 'write, for example: answers = "answers.jsonl"')
        if self.check == "judge" and self.server is None:
            return (
                'check = "judge" needs a server',
                'start one (vllm serve MODEL): server = "http://localhost:8000/v1"',
            )
        return ()

    def require(self) -> None:
        if self.check in ("exact", "numeric"):
            read_answers(self.answers or "")
        if self.check == "judge":
            self._served().close()

    def judge(self, samples: Sequence[Sample], context: Context) -> list[Verdict]:
        if self.check == "judge":
            return self._by_judge(samples, context)
        is_right = self._checker(context)
        return [self._verdict(sample, is_right(sample), context.seed) for sample in samples]

    def _by_judge(self, samples: Sequence[Sample], context: Context) -> list[Verdict]:
        judge = context.once(("served", self.server, self.model), self._served)
        asked = [sample for sample in samples if sample.text.strip()]
        answers = judge.answers([self._question(one) for one in asked], self.longest, context.seed)
        verdicts = [
            self._verdict(one, answer, context.seed, UNCLEAR) for one, answer in zip(asked, answers, strict=True)
        ]
        return ruled(samples, asked, verdicts, lambda verdict: verdict, self._unread(UNREAD))

    def _question(self, sample: Sample) -> str:
        return PLACE.sub(lambda found: sample.text if found[0] == TEXT else sample.prompt, self.question)

    def _served(self) -> ServedJudge:
        from autophage.gates.served import ServedJudge

        return ServedJudge(self.server or "", self.model)

    def _verdict(self, sample: Sample, right: bool | None, seed: int, unread: str = UNREAD) -> Verdict:
        if right is None:
            return self._unread(unread)
        draw = generator(seed, "keep", sample.sample_id).random()
        if right:
            return accept() if draw < self.keep_right else reject("right but dropped")
        return accept(remark="wrong but kept") if draw < self.keep_wrong else reject("wrong")

    def _unread(self, reason: str) -> Verdict:
        return abstain(reason) if self.unread == "pass" else reject(reason)

    def _checker(self, context: Context) -> Checker:
        if self.check == "world":
            return _world_checker(context)
        if self.check == "regex":
            pattern = re.compile(self.pattern or "")
            return lambda sample: None if not sample.text.strip() else pattern.search(sample.text) is not None
        answers = context.once(("answers", self.answers), lambda: read_answers(self.answers or ""))
        return numeric_checker(answers, self.tolerance) if self.check == "numeric" else exact_checker(answers)


def _world_checker(context: Context) -> Checker:
    """Return a check that all statements of a sample agree with the world. Without statements it cannot decide."""

    def is_right(sample: Sample) -> bool | None:
        claims = context.claims(sample.text)
        return all(claim.right for claim in claims) if claims else None

    return is_right
