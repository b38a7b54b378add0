"""`[anchor]`: what a model is held to while it learns, and which tokens it need not learn.

Of a trained token y with the model's distribution p and the reference's q:

    cross-entropy   -log p(y); 0 where `truncate` is given and p(y) is above it
    distillation    c KL(p || q) in its place, on tokens of synthetic text, with `objective = "distill"`; c = 1, but where
                    log p(y) - log q(y) = r is above `trust`: trust / r (clip) or 0 (mask), itself without a gradient
    anchor          `kl` times KL(q || p) (forward) or KL(p || q) (reverse), on every trained token

and the loss of a step is the sum of these over its trained tokens, divided by the number of those tokens. A token that is left
out of the cross-entropy or of the distillation stays in that number: the others weigh what they would weigh without it.
"""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from autophage.recipe.tables.table import PathText, Table

BASE: Final = "base"


class AnchorTable(Table):
    kl: float = Field(
        0.0, ge=0, description="weight of the divergence between model and reference in the training loss; 0 is none"
    )
    direction: Literal["forward", "reverse"] = Field(
        "forward",
        description="forward: KL(reference || model), which holds on to all that the reference would say; reverse: KL(model || "
        "reference), which keeps the model from what the reference would not say",
    )
    reference: PathText = Field(
        BASE, description='"base": model 0; or a teacher with the same vocabulary: a model folder or a hub id'
    )
    objective: Literal["sft", "distill"] = Field(
        "sft",
        description="what is learnt of synthetic text: its tokens (sft), or at each of them the reference's distribution, by "
        "KL(model || reference) in place of cross-entropy (distill). Human text is always learnt by its tokens",
    )
    trust: float | None = Field(
        None,
        gt=0,
        description="distill: nats by which the model may find its token likelier than the reference does before the reference "
        "counts as unreliable there (arXiv 2606.01249); left out: it never does",
    )
    outliers: Literal["clip", "mask"] = Field(
        "clip", description="distill: a token beyond trust pulls as one at trust would (clip), or not at all (mask)"
    )
    truncate: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="tokens to which the model gives more than this probability carry no cross-entropy (arXiv 2509.08972); left "
        "out: all carry it",
    )

    @property
    def distills(self) -> bool:
        return self.objective == "distill"
