"""What a gate is, what it is given, and what it answers.

A gate is a table of settings with one method. It sees the samples that the gates before it passed, in the order in which they
were asked for, and answers with one verdict for each. What it answers is a function of its settings, the samples and the
context: every random choice takes its seed from `context.seed`, so that a resumed run judges as an uninterrupted one.
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
"""Names of the two models that are in memory: the one that wrote the samples, and model 0."""

_REASON = re.compile(r"[a-z0-9][a-z0-9 ,'-]{0,59}")


class Ruling(Enum):
    ACCEPT = "accept"
    REJECT = "reject"
    ABSTAIN = "abstain"


@dataclass(frozen=True)
class Verdict:
    """What a gate says of one sample. `weight` is what it counts in the training loss, beside 1 for any other document.

    `reason` names a kind, so that samples can be counted by it: a few words without the sample's own numbers. A rejection and
    an abstention have one; of an acceptance it is a remark.
    """

    ruling: Ruling
    weight: float = 1.0
    reason: str = ""

    def __post_init__(self) -> None:
        if not self.reason and self.ruling is not Ruling.ACCEPT:
            raise ValueError(f"a verdict to {self.ruling.value} needs a reason")
        if self.reason and not _REASON.fullmatch(self.reason):
            raise ValueError(
                f"reason {self.reason!r}: give a kind that can be counted, in lower-case letters, digits, spaces and hyphens, "
                "60 characters at most"
            )


def accept(weight: float = 1.0, remark: str = "") -> Verdict:
    return Verdict(Ruling.ACCEPT, weight, remark)


def reject(reason: str) -> Verdict:
    return Verdict(Ruling.REJECT, reason=reason)


def abstain(reason: str) -> Verdict:
    """The gate cannot judge this sample: it passes, and is counted."""
    return Verdict(Ruling.ABSTAIN, reason=reason)


class Scoring(Protocol):
    """Token statistics under one of the two models in memory."""

    def __call__(self, sequences: Sequence[Sequence[int]], contexts: Sequence[int], under: str) -> list[Scored]:
        """Of `sequences[i][contexts[i]:]` under `WRITER` or `BASE`; contexts are at least 1."""
        ...


class Gains(Protocol):
    """What the writer would gain from learning a document; its weights stay what they are."""

    def __call__(
        self, rows: Sequence[TrainingRow], held: Sequence[TrainingRow], steps: int, rate: float
    ) -> list[float]:
        """Nats a token that `held` loses by `steps` steps of gradient descent on each of `rows` alone.

        Behind its `context` each row has a token at least. A gain is not finite where a `rate` is too high.
        """
        ...


@runtime_checkable
class Reader(Protocol):
    """A model that a gate keeps with `Context.once`: what it reads is counted among an arm's costs."""

    @property
    def tokens_read(self) -> int:
        """Since it was loaded, in tokens of its own, without padding."""
        ...


@dataclass(frozen=True)
class Context:
    """What a gate may know beside the samples. `seed` is this gate's own, for this arm and generation.

    `world` has the facts of a world of facts, None of any other source. `memory` outlives the generation (`once`).
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
        """What `make` makes, made once in a run: a loaded model, an index of human text. `key` names everything it is made of."""
        if key not in self.memory:
            self.memory[key] = make()
        return cast(T, self.memory[key])

    def human(self, count: int) -> list[str]:
        """At most `count` human documents, of those that may be trained on; the same in every arm and generation."""

        def texts() -> list[str]:
            return [decode(self.tokenizer, one) for one in self.source.reference(count)]

        return self.once(("human", count), texts)

    def claims(self, text: str) -> list[Claim]:
        """What a text states about the world of facts, each with whether it is so.

        Raises:
            UserError: the source is no such world.
        """
        world = self.world
        if world is None:
            raise UserError("it asks for the facts of a world, and the source has none (source.kind)")
        return self.once("claims", lambda: ClaimReader(world)).claims(text)

    def score_samples(self, samples: Sequence[Sample], under: str) -> list[Scored]:
        """Statistics of each sample's tokens after its prompt, as another model sees them.

        `under` is `WRITER`, `BASE`, or a model folder or hub id; that one reads prompt and text with its own tokenizer.
        """
        if under in (WRITER, BASE):
            sequences = [[*sample.prompt_ids, *sample.token_ids] for sample in samples]
            return self.score(sequences, [len(sample.prompt_ids) for sample in samples], under)
        from autophage.gates.models import NamedModel

        model = self.once(("model", under), lambda: NamedModel(under))
        return model.score([(sample.prompt, sample.text) for sample in samples])


def greatest(values: Sequence[float | None], share: float) -> set[int]:
    """Places of the greatest values: a `share` of them, rounded up. Of equals the first; None has no value."""
    ranked = [(-value, place) for place, value in enumerate(values) if value is not None]
    return {place for _, place in sorted(ranked)[: math.ceil(share * len(ranked))]}


def require_finite(values: Sequence[float], samples: Sequence[Sample], what: str, remedy: str = "") -> None:
    """Raise `RunError` with the first sample whose value is NaN or infinite, and what helps where that is known."""
    for value, sample in zip(values, samples, strict=True):
        if not math.isfinite(value):
            told = f"the {what} of sample {sample.sample_id} is {value:g}. Nothing was committed."
            raise RunError(f"{told} {remedy}".rstrip())


class Gate(GateTable, ABC):
    """One class, one file: its fields are the settings, with bounds and a description each, and a default wherever there is one.

    `kind` is a `Literal` with a default, and the name of the entry point. `passes`, `gradient_steps`, `human_passes`, `unfit` and
    `require` are there to be overridden.
    """

    @abstractmethod
    def judge(self, samples: Sequence[Sample], context: Context) -> list[Verdict]:
        """One verdict for each of `samples`, in their order; there may be none, and texts may be empty."""
