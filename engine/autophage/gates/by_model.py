"""Gates for which a recipe may name a model, and verdicts from what such a model said of the samples that it could read."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Sequence
from typing import ClassVar, TypeVar

from pydantic import Field

from autophage.gates.protocol import Context, Gate, Verdict, require_finite
from autophage.recipe.tables.table import PathText
from autophage.store.corpus import Sample

T = TypeVar("T")


class ByModel(Gate, ABC):
    """A gate with a built-in default that needs no model, and `model` in its place."""

    model: PathText | None = Field(None, description="a model folder or hub id, instead")
    paths: ClassVar[tuple[str, ...]] = ("model",)

    @property
    def passes(self) -> int:
        return int(self.model is not None)

    def require(self) -> None:
        if self.model is not None:
            from autophage.trainer.classifier import read_labels

            read_labels(self.model, "gate.model")


class ByClassifier(ByModel, ABC):
    """One whose model is a sequence classifier, of which one label counts, or a reward model with a single output."""

    label: str | None = Field(
        None, min_length=1, description="with a model: its label that counts; left out for one with a single output"
    )

    def require(self) -> None:
        if self.model is not None:
            from autophage.gates.models import require_judge

            require_judge(self.model, self.label, "gate.model")

    def judged_values(self, samples: Sequence[Sample], context: Context, what: str) -> list[float]:
        """Return the classifier's value for each sample's text. The classifier is loaded once in a run.

        `what` names the value in messages.

        Raises:
            RunError: A value is not finite.
        """
        from autophage.gates.models import Judge

        path = self.model or ""
        judge = context.once(("judge", path, self.label), lambda: Judge(path, self.label, "gate.model"))
        values = judge.values([sample.text for sample in samples])
        require_finite(values, samples, what)
        return values


def ruled(
    samples: Sequence[Sample],
    read: Sequence[Sample],
    values: Sequence[T],
    ruling: Callable[[T], Verdict],
    unread: Verdict,
) -> list[Verdict]:
    """One verdict for each of `samples`: `ruling` of its value if it is in `read`, to which `values` belong; else `unread`."""
    known = dict(zip([sample.sample_id for sample in read], values, strict=True))
    return [ruling(known[sample.sample_id]) if sample.sample_id in known else unread for sample in samples]
