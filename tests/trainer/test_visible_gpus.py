"""TRL on a machine with several GPUs. Only their number is simulated, as CUDA counts them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import SFTConfig, SFTTrainer

from autophage.host import environment

GPUS = "CUDA_VISIBLE_DEVICES"
SIZE: dict[str, Any] = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}


def visible() -> int:
    listed = os.environ.get(GPUS)
    return 8 if listed is None else len([one for one in listed.split(",") if one])


def trainer(folder: Path) -> SFTTrainer:
    words = Tokenizer(WordLevel({"a": 0, "</s>": 1}, unk_token="a"))
    return SFTTrainer(
        LlamaForCausalLM(LlamaConfig(vocab_size=2, **SIZE)),
        args=SFTConfig(str(folder), report_to="none", bf16=False, dataset_kwargs={"skip_prepare_dataset": True}),
        train_dataset=Dataset.from_dict({"input_ids": [[0, 0, 1]]}),
        processing_class=PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>", pad_token="</s>"),
    )


def test_trl_refuses_eight_gpus_and_takes_the_one_that_is_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(GPUS, "")
    monkeypatch.delenv(GPUS)
    monkeypatch.setattr(torch.cuda, "device_count", visible)
    with pytest.raises(ValueError, match="several GPUs are visible"):
        trainer(tmp_path)
    environment.one_visible_gpu()
    assert trainer(tmp_path).args.n_gpu == 1
