"""A small world and small corpora of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from autophage.data.world import text_of
from autophage.gates import Context, Gate, Verdict
from autophage.gates.contract import example_context
from autophage.gates.verifier import Verifier
from autophage.store.corpus import Sample

WORDS = "the harbour was calm and a pilot slept while it rained in town".split()


@pytest.fixture
def context() -> Context:
    return example_context(Verifier())


@pytest.fixture
def sample() -> Callable[..., Sample]:
    """Build a sample from a text, with token statistics where a test gives them."""

    def make(text: str, name: str = "", *, prompt: str = "", logprob: Sequence[float] | None = None) -> Sample:
        values = np.array([-1.0] * len(text.split()) if logprob is None else logprob, dtype=np.float32)
        ones = np.ones(len(values), dtype=np.float32)
        ids = [5] * len(values)
        return Sample(
            name or text, prompt, text, [1], ids, "stop", 0, values, ones, ones, np.exp(values), ones.astype(int)
        )

    return make


@pytest.fixture
def documents(context: Context) -> Callable[[int], list[str]]:
    """Build human documents about the world of `context`, from a draw that no reference has."""

    def draw(count: int) -> list[str]:
        assert context.world is not None
        return [text_of(context.world.document(99, index)) for index in range(count)]

    return draw


@pytest.fixture
def said() -> Callable[[list[Verdict]], list[str]]:
    return lambda verdicts: [f"{one.ruling.value}: {one.reason}".rstrip(": ") for one in verdicts]


@pytest.fixture
def later(context: Context) -> Callable[[int], Context]:
    """Build the context in another generation."""
    return lambda generation: replace(context, generation=generation, seed=context.seed + generation)


@pytest.fixture
def make_classifier(tmp_path: Path) -> Callable[..., Path]:
    """Build a folder with a tiny BERT of random weights and the given labels, loadable by transformers."""

    def make(labels: list[str], *, broken: bool = False) -> Path:
        from transformers import (  # type: ignore[attr-defined]  # its stubs lack the tokenizer
            BertConfig,
            BertForSequenceClassification,
            BertTokenizerFast,
        )

        folder = tmp_path / "-".join(["bert", *labels])
        folder.mkdir()
        (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]), "utf-8")
        BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=5 + len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
            max_position_embeddings=64, initializer_range=0.8, id2label=dict(enumerate(labels)),
            label2id={label: place for place, label in enumerate(labels)},
        )  # fmt: skip
        model = BertForSequenceClassification(config)
        if broken:
            model.classifier.weight.data.fill_(float("nan"))
        model.save_pretrained(folder)
        return folder

    return make


@pytest.fixture
def judged(context: Context) -> Callable[[Gate, Sequence[Sample]], list[Verdict]]:
    return lambda gate, samples: gate.judge(samples, context)
