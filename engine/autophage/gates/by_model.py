"""Base classes of gates with an optional model, and verdicts from that model's values."""

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
    """Base class of gates with a default that needs no further model. The setting `model` replaces the default."""

    model: PathText | None = Field(None, description="model folder or hub id; replaces the default")
    paths: ClassVar[tuple[str, ...]] = ("model",)

    @property
    def passes(self) -> int:
        return int(self.model is not None)

    def require(self) -> None:
        if self.model is not None:
            from autophage.trainer.classifier import read_labels

            read_labels(self.model, "gate.model")


class ByClassifier(ByModel, ABC):
    """Base class of gates whose model is a sequence classifier, or a reward model with a single output.

    The setting `label` names the one label of the classifier whose probability counts.
    """

    label: str | None = Field(
        None,
        min_length=1,
        description="with a model: the label that counts; leave it out for a model with a single output",
    )

    def require(self) -> None:
        if self.model is not None:
            from autophage.gates.models import require_judge

            require_judge(self.model, self.label, "gate.model")

    def judged_values(self, samples: Sequence[Sample], context: Context, what: str) -> list[float]:
        """Return one number for each sample's text: the probability of `label`, or the model's single raw output.

        The classifier is loaded once in a run. `what` names the number in messages.

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
    """Return one verdict for each of `samples`, in order.

    `read` are the samples that could be judged, and `values` their values in the same order. Such a sample gets the
    `ruling` of its value. Any other sample gets the verdict `unread`.
    """
    known = dict(zip([sample.sample_id for sample in read], values, strict=True))
    return [ruling(known[sample.sample_id]) if sample.sample_id in known else unread for sample in samples]
