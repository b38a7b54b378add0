"""Script A of the usual loop: start vLLM on a model folder, sample a corpus, write it, exit.

    python naive_sample.py --model DIR --prompts prompts.json --tokens 64 --out samples.jsonl

vLLM keeps its defaults with two exceptions. A small machine needs a small KV cache. A CPU skips compilation, which takes longer
than it saves. `--phases` names a file for the seconds of each phase.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any


def main() -> None:
    began = time.perf_counter()
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--prompts", type=Path, required=True)
    parser.add_argument("--tokens", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--concurrency", type=int, default=256)
    parser.add_argument("--phases", type=Path)
    arguments = parser.parse_args()

    import torch
    from vllm import LLM, SamplingParams

    imported = time.perf_counter()
    asked = json.loads(arguments.prompts.read_text())
    longest = max(map(len, asked["prompts"])) + arguments.tokens
    llm = LLM(
        model=arguments.model,
        dtype=arguments.dtype,
        max_model_len=longest,
        max_num_seqs=arguments.concurrency,
        skip_tokenizer_init=True,
        enforce_eager=not torch.cuda.is_available(),
    )
    started = time.perf_counter()
    params = SamplingParams(temperature=1.0, max_tokens=arguments.tokens, ignore_eos=True, detokenize=False)
    prompts: Any = [{"prompt_token_ids": ids} for ids in asked["prompts"]]
    outputs = llm.generate(prompts, params, use_tqdm=False)
    sampled = time.perf_counter()
    with arguments.out.open("w") as file:
        for output in outputs:
            file.write(json.dumps({"input_ids": [*asked["start"], *output.outputs[0].token_ids]}) + "\n")
    if arguments.phases:
        tokens = sum(len(output.outputs[0].token_ids) for output in outputs)
        phases = {
            "import": imported - began,
            "start": started - imported,
            "sample": sampled - started,
            "tokens": tokens,
        }
        arguments.phases.write_text(json.dumps(phases))


if __name__ == "__main__":
    main()
