"""The verb `score`: per-token statistics of a text under a model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from autophage.cli.output import AsJson, print_json, print_table, say
from autophage.display import safe, value
from autophage.live.progress import progress_bar

MEANINGS = {
    "perplexity": "exp of the mean surprisal",
    "entropy": "nats, of the model's distribution",
    "varentropy": "nats^2, variance of the surprisal",
    "surprisal_gap": "nats, surprisal above entropy",
    "rank": "mean; 1 is the model's own choice",
    "top1": "share of tokens of rank 1",
    "kl": "nats, KL(model || reference)",
    "reverse_kl": "nats, KL(reference || model)",
}


def score(
    model: str,
    text: Path,
    /,
    *,
    adapter: Path | None = None,
    reference: str | None = None,
    reference_adapter: Path | None = None,
    context: int | None = None,
    stride: int | None = None,
    out: Path | None = None,
    dtype: Literal["auto", "float32", "bfloat16"] = "auto",
    as_json: AsJson = False,
) -> int:
    """Score a text under a model: log-prob, entropy, varentropy and rank of every token over the whole vocabulary.

    Args:
        model: Model folder or hub id.
        text: UTF-8 file, or folder of text files.
        adapter: PEFT adapter folder for the model.
        reference: Another model of the same vocabulary; adds the KL divergence of each token in both directions.
        reference_adapter: PEFT adapter folder for the reference. Without --reference, the reference is the model itself.
        context: Tokens of a window; default 1024, or the model's positions if fewer.
        stride: Tokens from one window to the next; default half of the context. Each token is scored once.
        out: Parquet file for the tokens; by default only the summary is printed.
        dtype: Element type of the weights; auto is float32 on a CPU and bfloat16 on a GPU.
    """
    from autophage.scoring import load_scorer, read_documents, score_documents

    documents = read_documents(text)
    if documents.note:
        print(safe(f"{text}: {documents.note}"), file=sys.stderr)
    scorer = load_scorer(model, adapter, dtype)
    other = None
    if reference is not None or reference_adapter is not None:
        other = load_scorer(reference or model, reference_adapter, dtype)
    with progress_bar("scoring", "tokens") as meter:
        summary = score_documents(
            scorer, documents.texts, reference=other, context=context, stride=stride, out=out, meter=meter
        )
    if as_json:
        print_json({"model": scorer.name, "reference": other and other.name, **summary.facts(), "out": out})
        return 0
    say(f"{summary.tokens} tokens of {summary.documents} documents in {summary.windows} windows under {scorer.name}")
    rows = [
        (name, value(found.value), value(found.low), value(found.high), MEANINGS[name])
        for name, found in summary.estimates.items()
    ]
    print_table(("statistic", ">mean", ">low", ">high", "meaning"), rows)
    if out is not None:
        say(f"tokens: {out}")
    return 0
