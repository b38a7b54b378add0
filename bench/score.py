"""Scoring of a text beside transformers' own strided loop: perplexity, ratio of times, memory.

Both read the same windows of the same text under the same model, several times in alternation. Medians are reported. Memory is
the peak of a separate process, for a text and for one four times as long. Logits held as a whole would show as a difference.

    python bench/score.py                                        a random Llama of 32,000 tokens and made-up text
    python bench/score.py --model MODEL --text FILE --repeats 5  your model folder and text
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import harness  # noqa: F401  (takes this folder off the import path: `kernels` is another package's name)
from autophage.host.devices import device
from autophage.scoring import NamedText, Scorer, load_scorer, score_documents


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--model", help="model folder or hub id (default: a random model)")
    parser.add_argument("--text", type=Path, help="UTF-8 file (default: made-up text)")
    parser.add_argument("--vocabulary", type=int, default=32_000, help="vocabulary of the random model")
    parser.add_argument("--hidden", type=int, default=128, help="width of the random model")
    parser.add_argument("--tokens", type=int, default=4096, help="approximate length of the made-up text")
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--stride", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, help="also write the JSON here")
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)  # marks a process whose memory is measured
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        model = arguments.model or random_model(Path(folder) / "model", arguments.vocabulary, arguments.hidden)
        text = arguments.text.read_text("utf-8") if arguments.text else made_up(arguments.tokens)
        scorer = load_scorer(model)
        if arguments.peak:
            score_documents(
                scorer, [NamedText("text", text * arguments.peak)], context=arguments.context, stride=arguments.stride
            )
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
            return 0
        facts = compare(scorer, text, arguments)
        facts["peak_mib"] = {f"{times} x text": peak(times, model, arguments) for times in (1, 4)}
    printed = json.dumps(facts, indent=2)
    print(printed)
    if arguments.out:
        arguments.out.write_text(printed + "\n", "utf-8")
    return 0


def compare(scorer: Scorer, text: str, arguments: argparse.Namespace) -> dict[str, Any]:
    ids = scorer.tokenizer(text, return_tensors="pt", verbose=False)["input_ids"].to(scorer.head.model.device)
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(arguments.repeats + 1):
        began = time.perf_counter()
        summary = score_documents(scorer, [NamedText("text", text)], context=arguments.context, stride=arguments.stride)
        ours.append(time.perf_counter() - began)
        began = time.perf_counter()
        expected = strided(scorer.head.model, ids, arguments.context, arguments.stride)
        theirs.append(time.perf_counter() - began)
    ratios = sorted(mine / other for mine, other in zip(ours[1:], theirs[1:], strict=True))  # the first warms up
    found = summary.estimates["perplexity"].value
    return {
        "machine": {
            "device": torch.cuda.get_device_name() if device().type == "cuda" else platform.processor() or "cpu",
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        },
        "tokens": summary.tokens,
        "vocabulary": scorer.vocabulary,
        "fused_head": scorer.head.fused,
        "perplexity": {"ours": found, "transformers": expected, "relative_difference": abs(found / expected - 1)},
        "seconds": {"ours": statistics.median(ours[1:]), "transformers": statistics.median(theirs[1:])},
        "ratio": {
            "median": statistics.median(ratios),
            "quartiles": [ratios[len(ratios) // 4], ratios[(3 * len(ratios)) // 4]],
            "what": "our time / theirs; ours gives entropy, varentropy, ranks and masses of every token beside the loss",
        },
    }


@torch.inference_mode()
def strided(model: Any, ids: torch.Tensor, context: int, stride: int) -> float:
    """Perplexity from the model's own loss over windows. Each token counts once."""
    total, count, before = 0.0, 0, 0
    for begin in range(0, ids.shape[1], stride):
        end = min(begin + context, ids.shape[1])
        labels = ids[:, begin:end].clone()
        labels[:, : before - begin] = -100
        counted = int((labels[:, 1:] != -100).sum())
        total += float(model(ids[:, begin:end], labels=labels).loss) * counted
        count, before = count + counted, end
        if end == ids.shape[1]:
            break
    return math.exp(total / count)


def peak(times: int, model: str, arguments: argparse.Namespace) -> float:
    command = [sys.executable, __file__, "--peak", str(times), "--model", model]
    command += ["--context", str(arguments.context), "--stride", str(arguments.stride)]
    command += ["--text", str(arguments.text)] if arguments.text else ["--tokens", str(arguments.tokens)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return round(int(done.stdout) / 1024, 1)


def made_up(tokens: int) -> str:
    generator = torch.Generator().manual_seed(0)
    numbers = torch.randint(0, 10_000, (tokens // 6,), generator=generator).tolist()
    return "".join(f"In the year {number} a harbour was rebuilt.\n" for number in numbers)


def random_model(folder: Path, vocabulary: int, hidden: int) -> str:
    from transformers import LlamaConfig, LlamaForCausalLM

    from autophage.data.tokens import byte_pair_tokenizer

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    byte_pair_tokenizer([made_up(6000)], 2000).save_pretrained(folder)
    return str(folder)


if __name__ == "__main__":
    sys.exit(main())
