"""Weights that stock vLLM serves for an adapter under a reused id: the new ones or the old ones.

    python reused_id.py --model DIR --first ADAPTER --second ADAPTER --prompts prompts.json --tokens 64 --phases shares.json

`second` gets the id of `first`, with another name and path and without "in place". Its greedy samples are compared with those
of `first` and with those of `second` under a fresh id.
"""

import argparse
import json
from pathlib import Path
from typing import Any


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--first", required=True)
    parser.add_argument("--second", required=True)
    parser.add_argument("--prompts", type=Path, required=True)
    parser.add_argument("--tokens", type=int, required=True)
    parser.add_argument("--phases", type=Path, required=True)
    arguments = parser.parse_args()

    import torch
    from vllm import LLM, SamplingParams
    from vllm.lora.request import LoRARequest

    prompts: Any = [{"prompt_token_ids": ids} for ids in json.loads(arguments.prompts.read_text())["prompts"]]
    rank = json.loads((Path(arguments.first) / "adapter_config.json").read_text())["r"]
    llm = LLM(
        model=arguments.model,
        enable_lora=True,
        max_loras=2,
        max_lora_rank=rank,
        max_model_len=256,
        skip_tokenizer_init=True,
        enforce_eager=not torch.cuda.is_available(),
    )
    params = SamplingParams(temperature=0.0, max_tokens=arguments.tokens, ignore_eos=True, detokenize=False)

    def sample(name: str, number: int, path: str) -> list[list[int]]:
        outputs = llm.generate(prompts, params, lora_request=LoRARequest(name, number, path), use_tqdm=False)
        return [list(output.outputs[0].token_ids) for output in outputs]

    old = sample("arm@0", 1, arguments.first)
    served = sample("arm@1", 1, arguments.second)
    new = sample("fresh", 2, arguments.second)
    equal = {name: sum(map(list.__eq__, served, kept)) / len(served) for name, kept in (("old", old), ("new", new))}
    arguments.phases.write_text(json.dumps(equal))


if __name__ == "__main__":
    main()
