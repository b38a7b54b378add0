"""The `full` profiles of the papers' recipes end to end, with small models and texts.

The rest is as in the papers' runs. This covers chat template, splits, dataset configuration, question formats, training of
all weights, and beams.
"""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TEXT = [
    f"In the year {n} the temple of the god {n % 7} was rebuilt by {n % 5} masons and a priest." for n in range(900)
]
SUBJECTS = (
    "global_facts", "world_religions", "high_school_geography",
    "formal_logic", "elementary_mathematics", "high_school_mathematics",
)  # fmt: skip

MAKE_OPT = """
import sys
import torch
from autophage.data.tokens import byte_pair_tokenizer
from transformers import OPTConfig, OPTForCausalLM

folder, text = sys.argv[1:]
tokenizer = byte_pair_tokenizer([text], 500)
torch.manual_seed(0)
OPTForCausalLM(
    OPTConfig(
        vocab_size=512, hidden_size=64, word_embed_proj_dim=64, ffn_dim=96, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=256, eos_token_id=tokenizer.eos_token_id, bos_token_id=tokenizer.bos_token_id,
        pad_token_id=tokenizer.eos_token_id,
    )
).save_pretrained(folder)
tokenizer.save_pretrained(folder)
"""


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset folder with a training and a test split."""
    folder = tmp_path_factory.mktemp("text")
    pq.write_table(pa.table({"text": TEXT[:800]}), folder / "train.parquet")
    pq.write_table(pa.table({"text": TEXT[800:]}), folder / "test.parquet")
    return folder


@pytest.fixture(scope="module")
def mmlu(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mmlu")
    for split, count in (("test", 4), ("dev", 5)):
        (folder / split).mkdir()
        for subject in SUBJECTS:
            with (folder / split / f"{subject}_{split}.csv").open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(["question", "choice0", "choice1", "choice2", "choice3", "answer"])
                for n in range(count):
                    writer.writerow([f"Who rebuilt temple {n}?", "masons", "a priest", "the god", "nobody", n % 4])
    return folder


@pytest.fixture(scope="module")
def chat(make_chat_model: Callable[[Path, str, int], None], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chat")
    make_chat_model(folder, "\n".join(TEXT), 2048)
    return folder


@pytest.fixture(scope="module")
def opt(variables: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("opt")
    command = [sys.executable, "-c", MAKE_OPT, str(folder), "\n".join(TEXT)]
    subprocess.run(command, env=variables, check=True, capture_output=True)
    return folder


def settings(**values: object) -> list[str]:
    return [word for key, value in values.items() for word in ("--set", f"{key.replace('__', '.')}={value}")]


@pytest.mark.long
def test_knowledge_collapse(autophage: Run, chat: Path, text: Path, mmlu: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    small = settings(
        model__path=chat, source__path=text, source__config="default", questions__path=mmlu, generations=1,
        sample__count=12, sample__max_tokens=8, questions__max_tokens=6, measure__documents=8, measure__resamples=100,
        sweep="{'mix.alpha' = [0.5]}",
    )  # fmt: skip
    done = autophage("run", "knowledge-collapse", "--profile", "full", *small, "--out", out)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-2000:]
    for generation in ("gen-000", "gen-001"):
        answers = pq.read_table(out / "arms/alpha-0.5" / generation / "answers.parquet").to_pylist()
        assert len(answers) == 4 * 4 * len(SUBJECTS)
        assert all(row["generated"] is not None for row in answers)
    rows = pq.read_table(out / "arms/alpha-0.5/gen-001/corpus-00000.parquet").to_pylist()
    assert all("<system>You complete historical texts without any preamble" in row["prompt"] for row in rows)
    assert (out / "arms/alpha-0.5/gen-001/model/model.safetensors").is_file()
    assert "Stages of collapse" in (out / "report.html").read_text("utf-8")
    assert autophage("verify", out).returncode == 0


@pytest.mark.long
def test_curse_of_recursion(autophage: Run, opt: Path, text: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    small = settings(
        model__path=opt, source__path=text, source__config="default", generations=1, source__block=12,
        source__continuation=8, sample__count=16, sample__max_tokens=8, measure__documents=8, measure__resamples=100,
        sweep="{'mix.alpha' = [0.9], 'train.epochs' = [2.0], seed = [1, 2]}",
    )  # fmt: skip
    done = autophage("run", "curse-of-recursion", "--profile", "full", *small, "--out", out)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-2000:]
    rows = pq.read_table(out / "arms/alpha-0.9_epochs-2.0_seed-1/gen-001/corpus-00000.parquet").to_pylist()
    assert [len(row["token_ids"]) for row in rows] == [8] * 16
    assert autophage("verify", out).returncode == 0


@pytest.mark.long
def test_rank_hides_collapse(autophage: Run, chat: Path, text: Path, mmlu: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    small = settings(
        model__path=chat, source__path=text, source__config="default", questions__path=mmlu, generations=1,
        sample__count=8, sample__max_tokens=8, questions__max_tokens=4, measure__documents=8, measure__resamples=100,
        sweep="{'model.method' = ['lora', 'full'], 'model.rank' = [4, 16], seed = [1]}", control__enabled="false",
    )  # fmt: skip
    done = autophage("run", "rank-hides-collapse", "--profile", "full", *small, "--out", out)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-2000:]
    assert len(list(out.glob("arms/*/gen-001/manifest.json"))) == 3
