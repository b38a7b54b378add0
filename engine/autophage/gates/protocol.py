"""Interface of a gate: its input, its verdicts, its base class.

A gate is a table of settings with one method. It sees the samples that passed the gates before it, in the order of
their prompts. It returns one verdict per sample. The verdicts are a function of settings, samples and context. Every
random choice is seeded by `context.seed`, so a resumed run judges like an uninterrupted one.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast, runtime_checkable

from autophage.data.mix import TrainingRow
from autophage.data.source import Source
from autophage.data.tokens import decode
from autophage.data.world import World
from autophage.data.world_claims import Claim, ClaimReader
from autophage.errors import RunError, UserError
from autophage.metrics.scored import Scored
from autophage.recipe.schema import Recipe
from autophage.recipe.tables.gate import GateTable
from autophage.store.corpus import Sample

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

T = TypeVar("T")

WRITER, BASE = "writer", "base"
"""Names of the two models in memory: the writer of the samples, and model 0."""

_REASON = re.compile(r"[a-z0-9][a-z0-9 ,'-]{0,59}")


class Ruling(Enum):
    """Decision of a gate about a sample. A gate abstains if it cannot judge. The sample then passes."""

    ACCEPT = "accept"
    REJECT = "reject"
    ABSTAIN = "abstain"


@dataclass(frozen=True)
class Verdict:
    """Judgement of one sample by a gate.

    Attributes:
        weight: Factor of the sample in the training loss. Other documents count 1.
        reason: Reason in a few words, without the sample's own numbers, so that equal reasons can be counted. It is
            required to reject or abstain, and an optional remark otherwise.
    """

    ruling: Ruling
    weight: float = 1.0
    reason: str = ""

    def __post_init__(self) -> None:
        if not self.reason and self.ruling is not Ruling.ACCEPT:
            raise ValueError(f"a verdict to {self.ruling.value} needs a reason")
        if self.reason and not _REASON.fullmatch(self.reason):
            raise ValueError(
                f"reason {self.reason!r}: give a kind that can be counted, in at most 60 lower-case letters, digits, "
                "spaces and hyphens"
            )


def accept(weight: float = 1.0, remark: str = "") -> Verdict:
    """Return a verdict that accepts the sample. `weight` is its factor in the training loss."""
    return Verdict(Ruling.ACCEPT, weight, remark)


def reject(reason: str) -> Verdict:
    """Return a verdict that rejects the sample for `reason`."""
    return Verdict(Ruling.REJECT, reason=reason)


def abstain(reason: str) -> Verdict:
    """Return a verdict for a sample that the gate cannot judge. The sample passes and is counted."""
    return Verdict(Ruling.ABSTAIN, reason=reason)


class Scoring(Protocol):
    """A function that scores token sequences under one of the two models in memory."""

    def __call__(self, sequences: Sequence[Sequence[int]], contexts: Sequence[int], under: str) -> list[Scored]:
        """Return the statistics of the tokens `sequences[i][contexts[i]:]` for each i, given the tokens before.

        `under` is `WRITER`, the model that wrote the samples, or `BASE`, model 0. Contexts are at least 1.
        """
        ...


class Gains(Protocol):
    """A function that measures the model's gain from learning single documents.

    The model is the writer of the samples. Its weights are restored afterwards.
    """

    def __call__(
        self, rows: Sequence[TrainingRow], held: Sequence[TrainingRow], steps: int, rate: float
    ) -> list[float]:
        """Return the gain from each of the training documents `rows`, in nats per token.

        The gain is the fall of the loss on the documents `held` after `steps` gradient steps on that row alone. `rate`
        is the learning rate. Each row has at least one token after its `context`. A gain is not finite if `rate` is
        too high.
        """
        ...


@runtime_checkable
class Reader(Protocol):
    """A model that a gate keeps with `Context.once`. The tokens it reads count among the arm's costs."""

    @property
    def tokens_read(self) -> int:
        """Number of tokens read since loading, in the model's own tokens, without padding."""
        ...


@dataclass(frozen=True)
class Context:
    """Information that a gate gets beside the samples, and models that it may ask.

    Attributes:
        seed: Seed of this gate for this arm and generation.
        source: Human data in token ids of `tokenizer`.
        world: The world of facts, or None if the source is a text.
        score: Scores tokens under the writer of the samples or under model 0.
        gains: Measures the writer's gain from learning documents.
        memory: Cache of `once`. It outlives the generation.
    """

    arm: str
    generation: int
    seed: int
    recipe: Recipe
    tokenizer: PreTrainedTokenizerBase
    source: Source
    world: World | None
    score: Scoring
    gains: Gains
    memory: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the result of `make()`, cached for the whole run under `key`.

        `key` names everything that the result depends on. Typical results are a loaded model or an index of human
        text.
        """
        if key not in self.memory:
            self.memory[key] = make()
        return cast(T, self.memory[key])

    def human(self, count: int) -> list[str]:
        """Return the texts of at most `count` human training documents, the same for all arms and generations."""

        def texts() -> list[str]:
            return [decode(self.tokenizer, one) for one in self.source.reference(count)]

        return self.once(("human", count), texts)

    def claims(self, text: str) -> list[Claim]:
        """Return the statements in a text about the world of facts, each marked right or wrong.

        The list is empty if the text states nothing.

        Raises:
            UserError: The source is not a world.
        """
        world = self.world
        if world is None:
            raise UserError("needs the facts of a world, and the source is not a world (source.kind)")
        return self.once("claims", lambda: ClaimReader(world)).claims(text)

    def score_samples(self, samples: Sequence[Sample], under: str) -> list[Scored]:
        """Return the statistics of each sample's tokens after its prompt, such as log-probs, under a model.

        `under` is `WRITER`, `BASE`, or a model folder or hub id. A model from a folder or hub reads prompt and text
        with its own tokenizer.
        """
        if under in (WRITER, BASE):
            sequences = [[*sample.prompt_ids, *sample.token_ids] for sample in samples]
            return self.score(sequences, [len(sample.prompt_ids) for sample in samples], under)
        from autophage.gates.models import NamedModel

        model = self.once(("model", under), lambda: NamedModel(under))
        return model.score([(sample.prompt, sample.text) for sample in samples])


def greatest(values: Sequence[float | None], share: float) -> set[int]:
    """Return the indices of the largest of `values`. Their number is a `share` of all values, rounded up.

    Ties go to the first. None is no value and does not count.
    """
    ranked = [(-value, place) for place, value in enumerate(values) if value is not None]
    return {place for _, place in sorted(ranked)[: math.ceil(share * len(ranked))]}


def require_finite(values: Sequence[float], samples: Sequence[Sample], what: str, remedy: str = "") -> None:
    """Check that the value of each of `samples` is finite. `what` names the value in the message.

    Raises:
        RunError: A value is NaN or infinite. The message names the first such sample and the `remedy`.
    """
    for value, sample in zip(values, samples, strict=True):
        if not math.isfinite(value):
            told = f"the {what} of sample {sample.sample_id} is {value:g}. Nothing was committed."
            raise RunError(f"{told} {remedy}".rstrip())


class Gate(GateTable, ABC):
    """Base class of gates, which accept, reject or abstain on each sample of a corpus.

    Fields are the settings of a `[[gate]]` table. Each has bounds, a description and, if possible, a default. `kind`
    is a `Literal` with a default, equal to the name of the entry point. Subclasses may override `passes`,
    `gradient_steps`, `human_passes`, `unfit` and `require`.
    """

    @abstractmethod
    def judge(self, samples: Sequence[Sample], context: Context) -> list[Verdict]:
        """Return one verdict per sample, in order. `samples` may be empty, and so may the text of a sample."""
