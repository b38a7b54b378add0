"""Sampling as in the papers' own code: transformers' `generate`, batch by batch.

    python generate.py --model DIR --prompts prompts.json --tokens 64 --batches 4,16 --documents 64 --phases rates.json

The file of `--phases` gets tokens a second as JSON. Loading the model is not timed, and one batch of each size warms up. Batches
have prompts of one length, so nothing is padded.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--prompts", type=Path, required=True)
    parser.add_argument("--tokens", type=int, required=True)
    parser.add_argument("--batches", default="4,16")
    parser.add_argument("--documents", type=int, default=64)
    parser.add_argument("--phases", type=Path, required=True)
    arguments = parser.parse_args()

    import torch
    from transformers import AutoModelForCausalLM

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model: Any = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=arguments.dtype)
    model.to(device).eval()
    prompts = json.loads(arguments.prompts.read_text())["prompts"]
    shortest = min(map(len, prompts))
    ids = torch.tensor([prompts[i % len(prompts)][:shortest] for i in range(arguments.documents)], device=device)
    length = {"max_new_tokens": arguments.tokens, "min_new_tokens": arguments.tokens}
    rates = {}
    for size in map(int, arguments.batches.split(",")):
        model.generate(ids[:size], do_sample=True, top_k=0, max_new_tokens=2, min_new_tokens=2)
        began = time.perf_counter()
        for batch in ids.split(size):
            model.generate(batch, do_sample=True, top_k=0, **length)
        rates[str(size)] = len(ids) * arguments.tokens / (time.perf_counter() - began)
    arguments.phases.write_text(json.dumps(rates))


if __name__ == "__main__":
    main()
