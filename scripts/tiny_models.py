"""Tiny random models of many families, each with a tokenizer of its own. Nothing is downloaded.

A model has two layers of width 64 and 500 to 600 tokens. Its matrices are noisier than transformers draws them, so that another
weight gives another text. A variant changes one property that model folders differ in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

WIDTH, LAYERS, POSITIONS = 64, 2, 512
NOISE = 0.05
"""Standard deviation of what is added to every matrix."""
HEAD = {"head_dim": WIDTH // 2}
CAPPED = {**HEAD, "query_pre_attn_scalar": WIDTH // 2, "tie_word_embeddings": True}
EXPERTS = {"num_experts_per_tok": 2}
FAMILIES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "llama": ("LlamaConfig", {}),
    "qwen2": ("Qwen2Config", {}),
    "qwen3": ("Qwen3Config", HEAD),
    "mistral": ("MistralConfig", {}),
    "gemma2": ("Gemma2Config", CAPPED),
    "gemma3_text": ("Gemma3TextConfig", CAPPED),
    "gemma3": ("Gemma3Config", {}),
    "gpt2": ("GPT2Config", {}),
    "gpt_neox": ("GPTNeoXConfig", {}),
    "opt": ("OPTConfig", {"ffn_dim": 2 * WIDTH, "word_embed_proj_dim": WIDTH}),
    "phi": ("PhiConfig", {}),
    "phi3": ("Phi3Config", {}),
    "mixtral": ("MixtralConfig", {**EXPERTS, "num_local_experts": 4}),
    "qwen3_moe": ("Qwen3MoeConfig", {**HEAD, **EXPERTS, "num_experts": 4, "moe_intermediate_size": WIDTH}),
    "mamba": ("MambaConfig", {"state_size": 8}),
    "olmo2": ("Olmo2Config", {}),
    "granite": ("GraniteConfig", {}),
    "smollm3": ("SmolLM3Config", {}),
}
"""Family (`model_type` in `config.json`) -> class of its configuration in transformers, and what that needs beside the sizes."""
PAD, START, END, UNKNOWN, TURN = "<|pad|>", "<|start|>", "<|end|>", "<|unknown|>", "<|turn|>"
TOWNS = ("Kiel", "Brest", "Cork", "Gdansk")


@dataclass(frozen=True)
class Variant:
    """One property of a model folder that differs from the plain one.

    Attributes:
        start: The tokenizer has a start token.
        pad: The tokenizer has a padding token; `end` is the end token.
        heads: Number of attention heads.
        tied: The LM head shares the embedding's weights. None leaves the family's own.
        spare_rows: Rows of the embedding that no token has.
        two_ends: The generation config names two end tokens.
        dtype: Element type of the checkpoint.
        shard: Largest size of a weights file.
        settings: Further keys of the configuration.
    """

    start: bool = True
    pad: str | None = PAD
    heads: int = 2
    tied: bool | None = None
    spare_rows: int = 0
    two_ends: bool = False
    dtype: str = "float32"
    shard: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


PLAIN = Variant()


def lines(count: int) -> list[str]:
    """Return `count` sentences that models and tokenizers are made for."""
    return [
        f"In the year {1000 + year} the harbour of {TOWNS[year % 4]} was rebuilt by {year % 7} masons and {year % 5} pilots.\n"
        for year in range(count)
    ]


def make(folder: Path, family: str, variant: Variant = PLAIN, seed: int = 0) -> Path:
    """Write a model folder and return it."""
    import torch
    import transformers

    tokenizer = _tokenizer(variant)
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(_config(family, variant, tokenizer)).float()
    with torch.no_grad():
        for matrix in (parameter for parameter in model.parameters() if parameter.dim() > 1):
            matrix.add_(NOISE * torch.randn_like(matrix))
    if variant.two_ends:
        model.generation_config.eos_token_id = [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(TURN)]
    shards = {} if variant.shard is None else {"max_shard_size": variant.shard}
    model.to(getattr(torch, variant.dtype)).save_pretrained(folder, **shards)
    tokenizer.save_pretrained(folder)
    return folder


def _tokenizer(variant: Variant) -> PreTrainedTokenizerBase:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    pairs = Tokenizer(models.BPE())
    pairs.pre_tokenizer, pairs.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=[PAD, START, END, UNKNOWN, TURN],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    pairs.train_from_iterator(lines(1500), trainer)
    special = {"eos_token": END, "unk_token": UNKNOWN, "pad_token": variant.pad}
    if variant.start:
        special["bos_token"] = START
    return PreTrainedTokenizerFast(tokenizer_object=pairs, clean_up_tokenization_spaces=False, **special)


def _config(family: str, variant: Variant, tokenizer: PreTrainedTokenizerBase) -> Any:
    """Return a configuration with the family's sizes. GPT-2 reads the names of Llama's sizes as its own."""
    import transformers

    name, own = FAMILIES[family]
    common: dict[str, Any] = {
        "vocab_size": len(tokenizer) + variant.spare_rows,
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": variant.heads,
        "max_position_embeddings": POSITIONS,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": None,
    }
    if family not in ("gpt2", "opt", "mamba", "gpt_neox"):
        common |= {"num_key_value_heads": variant.heads}
    if family not in ("gpt2", "opt", "mamba"):
        common |= {"intermediate_size": 2 * WIDTH, "tie_word_embeddings": bool(variant.tied)}
    elif variant.tied is not None:
        common |= {"tie_word_embeddings": variant.tied}
    common |= {**own, **variant.settings}
    if family == "gemma3":
        text = {key: value for key, value in {**common, **CAPPED}.items() if key != "tie_word_embeddings"}
        sight = {"hidden_size": WIDTH, "intermediate_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 2}
        sight |= {"image_size": 16, "patch_size": 8}
        last = common["vocab_size"] - 1
        return transformers.Gemma3Config(
            text_config=text, vision_config=sight, mm_tokens_per_image=4, image_token_index=last
        )
    return getattr(transformers, name)(**common)
