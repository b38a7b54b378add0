"""`[anchor]`: a divergence to a reference model, distillation from it, and tokens without a loss.

For a trained token y with the model's distribution p and the reference's distribution q:

    cross-entropy   -log p(y); 0 where `truncate` is given and p(y) is above it
    distillation    c KL(p || q) in place of the cross-entropy, on tokens of synthetic text, with `objective = "distill"`.
                    c = 1, but where r = log p(y) - log q(y) is above `trust`: c = trust / r (clip) or c = 0 (mask).
                    No gradient flows through c.
    anchor          `kl` times KL(q || p) (forward) or KL(p || q) (reverse), on every trained token

The loss of a step is the sum of these terms over its trained tokens, divided by the number of those tokens. A token whose
cross-entropy or distillation is left out stays in that number. The other tokens keep the weight that they have without it.
"""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from autophage.recipe.tables.table import PathText, Table

BASE: Final = "base"


class AnchorTable(Table):
    """A reference model that training stays close to or distils from, and a limit on probable tokens."""

    kl: float = Field(
        0.0,
        ge=0,
        description="Weight of the divergence between model and reference in the training loss. 0: no anchor.",
    )
    direction: Literal["forward", "reverse"] = Field(
        "forward",
        description="Direction of the divergence. forward: KL(reference || model), which keeps every text that the "
        "reference finds likely. reverse: KL(model || reference), which suppresses texts that the reference finds unlikely.",
    )
    reference: PathText = Field(
        BASE,
        description='Reference model. "base": model 0. Else a teacher with the same vocabulary: a model folder or a hub id.',
    )
    objective: Literal["sft", "distill"] = Field(
        "sft",
        description="Objective on synthetic text. sft: cross-entropy. distill: KL(model || reference) at each token, in place "
        "of cross-entropy. Human text always has cross-entropy.",
    )
    trust: float | None = Field(
        None,
        gt=0,
        description="distill: largest log-ratio of model to reference (nats) at which the reference is still trusted "
        "(arXiv 2606.01249). Left out: the reference is always trusted.",
    )
    outliers: Literal["clip", "mask"] = Field(
        "clip",
        description="distill: treatment of tokens with a log-ratio above trust. clip: their weight is trust / log-ratio. "
        "mask: their weight is 0.",
    )
    truncate: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Leave out the cross-entropy of tokens whose model probability is above this (arXiv 2509.08972). Left out: "
        "every token has its cross-entropy.",
    )

    @property
    def distills(self) -> bool:
        return self.objective == "distill"
