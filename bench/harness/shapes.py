"""Shapes of the models that are measured, with their parameters and bytes. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass

BLOCK = 64
"""Tokens of a prompt where a text is read."""


@dataclass(frozen=True)
class LlamaShape:
    """Shape of a Llama. `kv_heads` and `intermediate` are for random weights. A small base model has kv heads = heads."""

    hidden: int
    layers: int
    heads: int
    people: int = 0
    """People in the world that a small base model is trained on. 0 stands for random weights."""
    kv_heads: int = 0
    intermediate: int = 0
    vocabulary: int = 0
    tied: bool = True

    @property
    def linears(self) -> dict[str, tuple[str, int, int]]:
        """Linear layers of one decoder layer: name -> block, inputs, outputs."""
        heads = self.hidden // self.heads * self.kv_heads
        return {
            "q_proj": ("self_attn", self.hidden, self.hidden),
            "k_proj": ("self_attn", self.hidden, heads),
            "v_proj": ("self_attn", self.hidden, heads),
            "o_proj": ("self_attn", self.hidden, self.hidden),
            "gate_proj": ("mlp", self.hidden, self.intermediate),
            "up_proj": ("mlp", self.hidden, self.intermediate),
            "down_proj": ("mlp", self.intermediate, self.hidden),
        }

    @property
    def parameters(self) -> int:
        """Without the norms, less than a part in a thousand."""
        layer = sum(inputs * outputs for _, inputs, outputs in self.linears.values())
        return self.layers * layer + self.vocabulary * self.hidden * (1 if self.tied else 2)

    def adapter_parameters(self, rank: int) -> int:
        return self.layers * sum(rank * (inputs + outputs) for _, inputs, outputs in self.linears.values())

    def kv_bytes_per_token(self, width: int = 2) -> int:
        return 2 * self.layers * self.kv_heads * (self.hidden // self.heads) * width


SHAPES = {
    "quick": LlamaShape(64, 2, 2, people=20),
    "demo": LlamaShape(192, 4, 3, people=250),
    "tiny": LlamaShape(64, 2, 2, kv_heads=1, intermediate=192, vocabulary=3000),
    "135m": LlamaShape(576, 30, 9, kv_heads=3, intermediate=1536, vocabulary=49_152),
    "1b": LlamaShape(2048, 16, 32, kv_heads=8, intermediate=8192, vocabulary=128_256),
    "8b": LlamaShape(4096, 32, 32, kv_heads=8, intermediate=14_336, vocabulary=128_256, tied=False),
}
