"""A user's own model on a text. The Hugging Face folder has a chat template and no start token."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TEXT = "".join(f"In the year {n} the harbour was rebuilt by {n % 7} masons and a pilot.\n" for n in range(600))


@pytest.mark.long
def test_a_chat_model_reads_its_own_continuations(
    autophage: Run, make_chat_model: Callable[[Path, str, int], None], tmp_path: Path
) -> None:
    model, text, out = tmp_path / "model", tmp_path / "text.txt", tmp_path / "run"
    text.write_text(TEXT, encoding="utf-8")
    make_chat_model(model, TEXT, 256)
    settings = {
        "source.path": text,
        "model.path": model,
        "model.rank": 5,
        "source.block": 24,
        "source.continuation": 12,
        "sample.count": 24,
        "generations": 1,
        "train.loss_on": "completion",
        "sample.top_p": 0.9,
        "sample.top_k": 40,
        "mix.pool": "accumulate",
        "train.chain": "restart",
    }
    done = autophage(
        "run", "text", "--out", out, *(word for key, value in settings.items() for word in ("--set", f"{key}={value}"))
    )
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-2000:]
    facts = json.loads((out / "environment.json").read_text("utf-8"))["model"]
    assert (facts["kind"], facts["path"]) == ("folder", str(model))
    rows = pq.read_table(out / "arms/alpha-1.0/gen-001/corpus-00000.parquet").to_pylist()
    assert len(rows) == 24
    assert all(row["prompt"].startswith("<system>You complete texts") for row in rows)
    assert all(row["prompt"].endswith("<assistant>") and 1 <= len(row["token_ids"]) <= 12 for row in rows)
    metrics = json.loads((out / "arms/control/gen-001/metrics.json").read_text("utf-8"))
    assert {"fluency/ppl_human", "onpolicy/entropy", "text/distinct_2"} <= {row["metric"] for row in metrics}
    assert autophage("verify", out).returncode == 0
