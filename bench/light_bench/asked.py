"""The sizes of what is measured, and the FLOPs and bytes of its matrix products."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from harness.subject import Loop

if TYPE_CHECKING:
    from autophage.trainer.products import Product

PARTS = ("sample", "lora", "full", "score", "head", "run")


@dataclass(frozen=True)
class Asked:
    """Sizes: documents that are sampled at once, and documents of a training step. All have `prompt` + `tokens` tokens."""

    model: str
    """Folder of the model; empty for the shape's own."""
    shape: str
    rows: int
    prompt: int
    tokens: int
    batch_size: int
    rank: int
    bare_flops: float
    """FLOPs of a pass over bare products; the rest is inferred from them."""

    @property
    def length(self) -> int:
        return self.prompt + self.tokens

    @property
    def trained(self) -> int:
        """Tokens of a step that carry loss: all but the first of each document."""
        return self.batch_size * (self.length - 1)

    def loop(self, method: str) -> Loop:
        """The experiment whose trainer and sampler are measured."""
        return Loop(
            shape=self.shape,
            model=self.model,
            samples=self.rows,
            tokens=self.tokens,
            prompt=self.prompt,
            batch_size=self.batch_size,
            rank=self.rank,
            method=method,
        )

    def spec(self, method: str, **more: Any) -> dict[str, Any]:
        return {"asked": asdict(self), "method": method, **more}

    def passes(self, part: str) -> dict[str, tuple[int, int, tuple[str, ...]]]:
        """Return the passes over the products of each figure: tokens, tokens in the head, and directions."""
        forward, lora = ("forward",), ("forward", "input")
        step = self.batch_size * self.length
        figures: dict[str, dict[str, tuple[int, int, tuple[str, ...]]]] = {
            "sample": {
                "prefill": (self.rows * self.prompt, self.rows, forward),
                "step": (self.rows, self.rows, forward),
            },
            "lora": {"step": (step, self.trained, lora)},
            "full": {"step": (step, self.trained, (*lora, "weight"))},
            "score": {"step": (step, self.trained, forward)},
            "head": {"forward": (0, self.trained, forward), "both": (0, self.trained, lora)},
            "run": {},
        }
        return figures[part]

    def work(self, part: str, products: Sequence[Product], width: int) -> dict[str, dict[str, float]]:
        """Return GFLOPs and megabytes of weights of each figure's products."""
        from autophage.trainer.products import elements, flops

        return {
            figure: {
                "GFLOP": len(directions) * flops(products, rows, head) / 1e9,
                "MB": len(directions) * width * elements(products, rows, head) / 1e6,
            }
            for figure, (rows, head, directions) in self.passes(part).items()
        }
