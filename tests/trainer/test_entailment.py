"""Entailment by a small random classifier: its softmax in any batch, and refusal of other classifiers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from autophage.errors import UserError
from autophage.trainer.classifier import BATCH
from autophage.trainer.entailment import Entailment, entailment_label

WORDS = "the harbour was calm and a pilot slept while it rained in town".split()


def make_classifier(folder: Path, labels: list[str]) -> None:
    from transformers import (  # type: ignore[attr-defined]  # its stubs lack the tokenizer
        BertConfig,
        BertForSequenceClassification,
        BertTokenizerFast,
    )

    folder.mkdir(exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]), "utf-8")
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=5 + len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=32, initializer_range=0.8, id2label=dict(enumerate(labels)),
        label2id={label: place for place, label in enumerate(labels)},
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_classifier(tmp_path / "nli", ["CONTRADICTION", "NEUTRAL", "ENTAILMENT"])
    return tmp_path / "nli"


def test_probabilities_are_the_classifiers_own(folder: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    premises = [" ".join(WORDS[: 1 + n % 9]) for n in range(BATCH + 3)]
    hypotheses = [WORDS[n % len(WORDS)] for n in range(BATCH + 3)]
    found = Entailment(str(folder)).probabilities(premises, hypotheses)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    for premise, hypothesis, value in zip(premises, hypotheses, found, strict=True):
        with torch.no_grad():
            logits = model(**tokenizer(premise, hypothesis, return_tensors="pt")).logits[0]
        assert value == pytest.approx(float(logits.softmax(-1)[2]), abs=1e-5)
    assert len(set(found)) > 20


def test_what_is_longer_than_its_positions_is_cut(folder: Path) -> None:
    (value,) = Entailment(str(folder)).probabilities([" ".join(WORDS * 30)], ["town"])
    assert 0.0 < value < 1.0


def test_a_classifier_of_something_else_is_refused(tmp_path: Path) -> None:
    make_classifier(tmp_path / "mood", ["glad", "not_entailed"])
    with pytest.raises(UserError, match="Its labels are: glad, not_entailed"):
        entailment_label(str(tmp_path / "mood"))
    make_classifier(tmp_path / "two", ["not_entailment", "entailment"])
    assert entailment_label(str(tmp_path / "two")) == 1
    with pytest.raises(UserError, match="cannot be loaded"):
        entailment_label(str(tmp_path / "nowhere"))
