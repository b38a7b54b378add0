"""A real vLLM batch of three adapters and the base model, compared with PEFT. Run by test_mixed_adapters.py.

It is a process of its own, because vLLM changes global state. The argument is float32 or bfloat16.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from autophage.host import environment

environment.apply()

import torch  # noqa: E402
from peft import LoraConfig, PeftModel, get_peft_model  # noqa: E402
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM  # noqa: E402
from vllm import EngineArgs, LLMEngine, SamplingParams  # noqa: E402
from vllm.lora.request import LoRARequest  # noqa: E402

from autophage.sampler import cpu_lora  # noqa: E402

VOCABULARY, TOKENS = 256, 24
RANKS = (8, 1, 5)
"""Ranks of adapters 1, 2 and 3. They fill every slot, so a row without an adapter could get the last slot by mistake."""
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "lm_head"]
PROMPTS = [[1, 3 + 7 * index % 200, 5 + index] for index in range(22)]
ADAPTERS = [(0, 1, 2, 3, 1, 1)[index % 6] for index in range(len(PROMPTS))]


def main(dtype: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_model(folder)
        assert cpu_lora.install()
        engine = LLMEngine.from_engine_args(
            EngineArgs(
                model=str(folder),
                dtype=dtype,  # type: ignore[arg-type]  # from the command line
                skip_tokenizer_init=True,
                max_model_len=64,
                enforce_eager=True,
                enable_prefix_caching=False,
                enable_lora=True,
                max_loras=len(RANKS),
                max_lora_rank=8,
                disable_log_stats=True,
                kv_cache_memory_bytes=64 << 20,
            )
        )
        everyone = list(range(len(PROMPTS)))
        mixed = _greedy(engine, folder, everyone)
        again = _greedy(engine, folder, everyone)
        alone: dict[int, list[int]] = {}
        for adapter in range(len(RANKS) + 1):
            alone |= _greedy(engine, folder, [index for index in everyone if ADAPTERS[index] == adapter])
        found = {
            "deterministic": mixed == again,
            "alone": sum(mixed[index] == alone[index] for index in everyone),
            "peft": sum(mixed[index] == _by_peft(folder, index) for index in everyone) if dtype == "float32" else None,
            "documents": len(everyone),
            "different": len({tuple(mixed[index]) for index in everyone}),
        }
    print("RESULT " + json.dumps(found))


def _write_model(folder: Path) -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
    )
    model = LlamaForCausalLM(config)
    model.lm_head.weight.data *= 15  # clear winners: the greedy token does not hang on the last bit
    model.save_pretrained(folder)
    for number, rank in enumerate(RANKS, start=1):
        lora = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=TARGETS, task_type="CAUSAL_LM")
        peft: Any = get_peft_model(AutoModelForCausalLM.from_pretrained(folder), lora)
        torch.manual_seed(number)
        for name, parameter in peft.named_parameters():
            if "lora_B" in name:
                parameter.data.normal_(0, 0.1)
        peft.save_pretrained(folder / f"adapter-{number}")


def _greedy(engine: Any, folder: Path, indices: list[int]) -> dict[int, list[int]]:
    for index in indices:
        adapter = ADAPTERS[index]
        lora = LoRARequest(f"adapter-{adapter}", adapter, str(folder / f"adapter-{adapter}")) if adapter else None
        params = SamplingParams(max_tokens=TOKENS, temperature=0, ignore_eos=True, detokenize=False)
        engine.add_request(str(index), {"prompt_token_ids": PROMPTS[index]}, params, lora_request=lora)
    found = {}
    while engine.has_unfinished_requests():
        for output in engine.step():
            if output.finished:
                found[int(output.request_id)] = list(output.outputs[0].token_ids)
    return found


def _by_peft(folder: Path, index: int) -> list[int]:
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    if ADAPTERS[index]:
        model = PeftModel.from_pretrained(model, str(folder / f"adapter-{ADAPTERS[index]}"))
    ids = torch.tensor([PROMPTS[index]])
    with torch.inference_mode():
        for _ in range(TOKENS):
            ids = torch.cat([ids, model.eval()(input_ids=ids).logits[:, -1].argmax(-1, keepdim=True)], 1)
    return ids[0, len(PROMPTS[index]) :].tolist()


if __name__ == "__main__":
    main(sys.argv[1])
