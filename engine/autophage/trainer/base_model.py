"""The base model of `model.path = "from-source"`: a small Llama trained on the source, cached by content.

The cache key hashes everything that decides the weights: source content, the `[base]` table and `VERSION`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from autophage.data.base_folder import base_model_folder, base_positions
from autophage.data.build import RawSource
from autophage.progress import Meter
from autophage.recipe.schema import Recipe
from autophage.trainer.made_once import made_once

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

WARMUP_STEPS = 50
FINAL_SHARE = 0.05
"""Learning rate at the last step, as a share of the peak."""
REPORT_STEPS = 10
"""Optimizer steps between two reports of progress. Each report reads the loss, which waits for the device."""


def ensure_base_model(recipe: Recipe, raw: RawSource, meter: Meter) -> Path:
    """Return the folder of a recipe's base model.

    A model that the cache lacks is trained first. `meter` counts its tokens.
    """
    return made_once(base_model_folder(recipe, raw), lambda scratch: _train(recipe, raw, scratch, meter))


def _train(recipe: Recipe, raw: RawSource, folder: Path, meter: Meter) -> None:
    """Train a new model with AdamW on packed rows of the source, with linear warm-up and decay.

    Weights, configuration and tokenizer go into `folder` as Hugging Face files. `meter` counts tokens.
    """
    import torch
    from transformers import set_seed

    from autophage.host.devices import device

    base = recipe.base
    set_seed(base.seed)
    tokenizer = raw.make_tokenizer(recipe)
    model: Any = _new_model(recipe, tokenizer)
    model.to(device()).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=base.learning_rate, betas=(0.9, 0.98), weight_decay=0.05)
    per_step = base.batch_size * base.length
    steps = max(1, base.tokens // per_step)
    rows = raw.rows(tokenizer, base.length + 1, base.seed)
    meter.expect(steps * per_step)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = base.learning_rate * _rate(step, steps)
        ids = torch.tensor([next(rows) for _ in range(base.batch_size)], device=model.device)
        logits = model(input_ids=ids[:, :-1], use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if (step + 1) % REPORT_STEPS == 0 or step == steps - 1:
            tokens = (step % REPORT_STEPS + 1) * per_step
            meter.advance(tokens, tokens=tokens, loss=float(loss.detach()))
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _rate(step: int, steps: int) -> float:
    warmup = min(WARMUP_STEPS, max(1, steps // 10))
    decay = 1.0 - (1.0 - FINAL_SHARE) * step / steps
    return min(1.0, (step + 1) / warmup) * decay


def _new_model(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> LlamaForCausalLM:
    from transformers import LlamaConfig, LlamaForCausalLM

    base = recipe.base
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=base.hidden_size,
            intermediate_size=3 * base.hidden_size,
            num_hidden_layers=base.layers,
            num_attention_heads=base.heads,
            num_key_value_heads=base.heads,
            max_position_embeddings=base_positions(recipe),
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
