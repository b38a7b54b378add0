"""`entailment`: keeps samples that human text entails, a write-back gate of Bidirectional RAG (arXiv 2512.22199).

The model is an NLI cross-encoder. The premise is the most relevant human passages, and the hypothesis is the sample.
P(entailment) must reach the threshold. A world of facts needs no model. There, a sample is entailed if each of its
statements is a fact. If a pair exceeds the model's positions, the longer text is cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from autophage.gates.by_model import ByModel, ruled
from autophage.gates.protocol import Context, Verdict, abstain, accept, reject, require_finite
from autophage.gates.retrieval import PassageIndex, words_of
from autophage.recipe.settings import Settings
from autophage.recipe.tables.table import Fraction, PathText, Positive
from autophage.store.corpus import Sample

UNENTAILED = "not entailed"


class EntailmentGate(ByModel):
    """Gate `entailment` with its settings. It keeps samples that human passages or the facts of a world entail."""

    kind: Literal["entailment"] = Field("entailment", description="name of the gate")
    model: PathText | None = Field(
        None, description="folder or hub id of an entailment (NLI) classifier; without one, the facts of a world decide"
    )
    threshold: Fraction = Field(0.65, description="with a model: minimum probability of entailment")
    passages: int = Field(3, ge=1, le=100, description="with a model: human passages in the premise")
    human: Positive = Field(2000, description="with a model: human documents to retrieve passages from")

    def unfit(self, settings: Settings) -> tuple[str, ...]:
        if self.model is None and settings.source.kind != "world":
            return ("a text needs an entailment model", "give a folder or a hub id: model = ...")
        return ()

    def require(self) -> None:
        if self.model is not None:
            from autophage.trainer.entailment import entailment_label

            entailment_label(self.model, "gate.model")

    def judge(self, samples: Sequence[Sample], context: Context) -> list[Verdict]:
        return self._by_facts(samples, context) if self.model is None else self._by_model(samples, context)

    def _by_facts(self, samples: Sequence[Sample], context: Context) -> list[Verdict]:
        verdicts = []
        for claims in (context.claims(sample.text) for sample in samples):
            if not claims:
                verdicts.append(abstain("nothing stated"))
            else:
                verdicts.append(accept() if all(claim.right for claim in claims) else reject(UNENTAILED))
        return verdicts

    def _by_model(self, samples: Sequence[Sample], context: Context) -> list[Verdict]:
        from autophage.trainer.entailment import Entailment

        path = self.model or ""
        judge = context.once(("entailment", path), lambda: Entailment(path, "gate.model"))
        index = context.once(("passages", self.human), lambda: PassageIndex(context.human(self.human)))
        found = index.retrieve([sample.text for sample in samples], self.passages)
        read = [sample for sample, places in zip(samples, found, strict=True) if places]
        premises = [" ".join(index.texts[place] for place in places) for places in found if places]
        values = judge.probabilities(premises, [sample.text for sample in read])
        require_finite(values, read, "probability of entailment")

        def ruling(entailed: float) -> Verdict:
            return accept() if entailed >= self.threshold else reject(UNENTAILED)

        verdicts = ruled(samples, read, values, ruling, reject("no passage bears on it"))
        return [
            verdict if words_of(sample.text) else abstain("nothing stated")
            for sample, verdict in zip(samples, verdicts, strict=True)
        ]
