"""Script B of the usual loop: load a model folder, train a LoRA adapter with TRL, merge, save, exit.

    python naive_train.py --model DIR --samples samples.jsonl --out merged

The hyper-parameters are the experiment's. Everything else is TRL's default. `--clean` applies the settings of a careful
user. On a CPU these are no mixed precision and no checkpointing. Batches have similar lengths, and there is no logging,
no checkpoint and no second preparation. `--passes 2` trains twice and times the second, warm pass. Nothing is merged
then.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any


def main() -> None:
    began = time.perf_counter()
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--samples", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--alpha", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--clean", action="store_true")
    parser.add_argument("--passes", type=int, default=1)
    parser.add_argument("--phases", type=Path)
    arguments = parser.parse_args()

    import torch
    from datasets import Dataset
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    imported = time.perf_counter()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model: Any = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=arguments.dtype)
    model.to(device)
    tokenizer = AutoTokenizer.from_pretrained(arguments.model)
    rows = [json.loads(line)["input_ids"] for line in arguments.samples.read_text().splitlines()]
    lora = LoraConfig(r=arguments.rank, lora_alpha=arguments.alpha, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(model, lora)
    loaded = time.perf_counter()
    seconds = 0.0
    for _ in range(arguments.passes):
        dataset = Dataset.from_dict({"input_ids": rows, "labels": rows} if arguments.clean else {"input_ids": rows})
        start = time.perf_counter()
        train(model, tokenizer, dataset, arguments, device)
        if device == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - start
    trained = time.perf_counter()
    if arguments.out:
        merged = model.merge_and_unload()
        merged_at = time.perf_counter()
        merged.save_pretrained(arguments.out)
        tokenizer.save_pretrained(arguments.out)
    if arguments.phases:
        phases = {
            "import": imported - began,
            "load": loaded - imported,
            "train": seconds,
            "tokens": sum(map(len, rows)),
        }
        if arguments.out:
            phases |= {"merge": merged_at - trained, "save": time.perf_counter() - merged_at}
        arguments.phases.write_text(json.dumps(phases))


def train(model: Any, tokenizer: Any, dataset: Any, arguments: argparse.Namespace, device: str) -> None:
    from trl import SFTConfig, SFTTrainer

    careful: dict[str, Any] = {
        "bf16": device == "cuda",
        "gradient_checkpointing": False,
        "max_length": None,
        "dataset_kwargs": {"skip_prepare_dataset": True},
        "train_sampling_strategy": "group_by_length",
        "save_strategy": "no",
        "logging_strategy": "no",
        "disable_tqdm": True,
    }
    with tempfile.TemporaryDirectory() as scratch:
        config = SFTConfig(
            output_dir=scratch,
            num_train_epochs=arguments.epochs,
            per_device_train_batch_size=arguments.batch_size,
            learning_rate=arguments.learning_rate,
            report_to="none",
            use_cpu=device == "cpu",  # TRL refuses to start on a CPU without it
            **(careful if arguments.clean else {}),
        )
        SFTTrainer(model, args=config, train_dataset=dataset, processing_class=tokenizer).train()


if __name__ == "__main__":
    main()
