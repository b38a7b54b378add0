"""`autophage score` against plain transformers: equal perplexity, equal numbers for every token."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from autophage.cli import main
from autophage.errors import UserError
from autophage.progress import Meter, Progress
from autophage.scoring import NamedText, load_scorer, score_documents

MakeModel = Callable[..., Path]

pytestmark = pytest.mark.thorough


def strided_perplexity(folder: Path, text: str, context: int, stride: int) -> float:
    """Strided perplexity by the model's own loss, token by token averaged."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt").input_ids
    total, count, before = 0.0, 0, 0
    for begin in range(0, ids.shape[1], stride):
        end = min(begin + context, ids.shape[1])
        labels = ids[:, begin:end].clone()
        labels[:, : before - begin] = -100
        counted = int((labels[:, 1:] != -100).sum())
        with torch.no_grad():
            total += float(model(ids[:, begin:end], labels=labels).loss) * counted
        count, before = count + counted, end
        if end == ids.shape[1]:
            break
    return math.exp(total / count)


def test_perplexity_is_that_of_transformers(
    model_folder: Path, text_file: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    assert main(["score", str(model_folder), str(text_file), "--context", "64", "--stride", "32", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    found = facts["estimates"]["perplexity"]
    assert found["value"] == pytest.approx(strided_perplexity(model_folder, text, 64, 32), rel=1e-5)
    assert found["low"] < found["value"] < found["high"]


@pytest.mark.parametrize(
    ("out", "message"), [(".", "is a folder. Name a file"), ("/proc/tokens.parquet", "cannot be written")]
)
def test_a_destination_that_cannot_be_written(
    model_folder: Path, text_file: Path, capsys: pytest.CaptureFixture[str], out: str, message: str
) -> None:
    assert main(["score", str(model_folder), str(text_file), "--out", str(text_file.parent / out)]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert "Traceback" not in told


def test_files_of_a_folder_that_are_left_out_are_counted(
    model_folder: Path, text_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (text_file.parent / "._text.txt").write_bytes(b"\x00\x05\x16\x07")
    assert main(["score", str(model_folder), str(text_file.parent), "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["documents"] == 1
    assert f"{text_file.parent}: read 1 file and left out 1" in told.err


def test_the_table_has_every_token(model_folder: Path, tmp_path: Path, text: str) -> None:
    scorer = load_scorer(str(model_folder))
    documents = [NamedText("one", text[:500]), NamedText("empty", ""), NamedText("two", text[500:900])]
    out = tmp_path / "scores.parquet"
    summary = score_documents(scorer, documents, context=32, stride=8, out=out)
    rows: list[dict[str, Any]] = pq.read_table(out).to_pylist()
    assert len(rows) == summary.tokens
    for document in (documents[0], documents[2]):
        ids = scorer.tokenizer(document.text)["input_ids"]
        mine = [row for row in rows if row["document"] == document.name]
        assert [row["position"] for row in mine] == list(range(1, len(ids)))
        assert [row["token_id"] for row in mine] == ids[1:]
    ids = torch.tensor([scorer.tokenizer(text[:500])["input_ids"][:32]])
    with torch.no_grad():
        log_p = scorer.head.model(ids).logits[0, :-1].double().log_softmax(1)
    entropy = -(log_p.exp() * log_p).sum(1)
    for row, expected, own in zip(rows, entropy, log_p.gather(1, ids[0, 1:, None])[:, 0], strict=False):
        assert row["entropy"] == pytest.approx(expected.item(), abs=2e-5)
        assert row["logprob"] == pytest.approx(own.item(), abs=2e-5)


def test_divergence_from_a_reference(
    model_folder: Path, tmp_path: Path, text_file: Path, text: str, make_model: MakeModel
) -> None:
    other = make_model(tmp_path / "other", 512, hidden=48, seed=1)
    scorer, reference = load_scorer(str(model_folder)), load_scorer(str(other))
    out = tmp_path / "scores.parquet"
    summary = score_documents(scorer, [NamedText("t", text[:300])], reference=reference, context=128, out=out)
    ids = torch.tensor([scorer.tokenizer(text[:300])["input_ids"][:128]])
    with torch.no_grad():
        log_p, log_q = (one.head.model(ids).logits[0, :-1].double().log_softmax(1) for one in (scorer, reference))
    kl = (log_p.exp() * (log_p - log_q)).sum(1)
    found = torch.tensor(pq.read_table(out).column("kl").to_pylist()[: len(kl)], dtype=torch.float64)
    torch.testing.assert_close(found, kl, atol=5e-5, rtol=1e-5)
    assert summary.estimates["kl"].value > 0.01
    same = score_documents(scorer, [NamedText("t", text[:300])], reference=scorer)
    assert same.estimates["kl"].value == same.estimates["reverse_kl"].value == 0.0


def test_an_adapter_changes_what_is_scored(
    model_folder: Path, tmp_path: Path, text: str, make_model: MakeModel
) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(3)
    wrapped = get_peft_model(
        AutoModelForCausalLM.from_pretrained(model_folder),
        LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False),
    )
    wrapped.save_pretrained(str(tmp_path / "adapter"))
    document = [NamedText("t", text[:300])]
    plain = score_documents(load_scorer(str(model_folder)), document)
    adapted = score_documents(load_scorer(str(model_folder), tmp_path / "adapter"), document)
    assert abs(plain.estimates["perplexity"].value - adapted.estimates["perplexity"].value) > 1.0
    misfit = make_model(tmp_path / "wide", 512, hidden=64)
    with pytest.raises(UserError, match="does not fit"):
        load_scorer(str(misfit), tmp_path / "adapter")


def test_refusals(model_folder: Path, tmp_path: Path, text: str, make_model: MakeModel) -> None:
    scorer = load_scorer(str(model_folder))
    documents = [NamedText("t", text[:300])]
    with pytest.raises(UserError, match="at most 128"):
        score_documents(scorer, documents, context=129)
    with pytest.raises(UserError, match="from 1 to the context"):
        score_documents(scorer, documents, context=64, stride=65)
    with pytest.raises(UserError, match="nothing to score"):
        score_documents(scorer, [NamedText("t", "")])
    narrow = make_model(tmp_path / "narrow", 450)
    with pytest.raises(UserError, match="one vocabulary"):
        score_documents(scorer, documents, reference=load_scorer(str(narrow)))


def test_nothing_is_left_of_a_score_that_failed(model_folder: Path, tmp_path: Path, text: str) -> None:
    def stop(_: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score_documents(
            load_scorer(str(model_folder)), [NamedText("t", text)], out=tmp_path / "scores.parquet", meter=Meter(stop)
        )
    assert list(tmp_path.iterdir()) == []
