"""Statistics of every token of documents, batch by batch in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import torch

from autophage.errors import UserError
from autophage.host.patterns import is_url
from autophage.progress import Meter
from autophage.scoring.models import Scorer
from autophage.scoring.table import DIVERGENCES, STATISTICS, ScoreSummary, Sums, TokenTable
from autophage.scoring.windows import ContextWindow, NamedText, windows
from autophage.store.atomic import replacing
from autophage.trainer.passes import Budget, budget
from autophage.trainer.scoring import scored_rows, to_host

DEFAULT_CONTEXT = 1024

Piece = tuple[str, list[int], ContextWindow]
"""Name of a document, all its token ids, and one window of it to score."""


def score_documents(
    scorer: Scorer,
    documents: Sequence[NamedText],
    *,
    reference: Scorer | None = None,
    context: int | None = None,
    stride: int | None = None,
    out: Path | None = None,
    meter: Meter | None = None,
) -> ScoreSummary:
    """Score every token of `documents` except the first of each.

    Args:
        scorer: Model to score under. Its tokenizer adds its default special tokens.
        documents: Texts, scored independently. No context crosses from one to the next.
        reference: Second model of the same vocabulary. It adds KL(model || reference) and KL(reference || model) per
            token.
        context: Tokens per window. None means 1024, or the model's positions if fewer.
        stride: Tokens between the starts of windows. None means half of the context.
        out: Parquet file for the statistics. It is written completely or not at all.
        meter: Receives the number of tokens to score, and of those scored so far.

    Returns:
        Summary of all scored tokens.

    Raises:
        UserError: Context or stride is out of range, the vocabularies differ, no document has two tokens, or `out` cannot be
            written.
    """
    context, stride = _settings(scorer, reference, context, stride)
    encoded = [(document.name, _encode(scorer, document)) for document in documents]
    pieces = [(name, ids, window) for name, ids in encoded for window in windows(len(ids), context, stride)]
    if not pieces:
        raise UserError("nothing to score: no document has two tokens, and a first token has no context")
    total = sum(window.end - window.first for _, _, window in pieces)
    sums = Sums()
    meter = meter or Meter()
    meter.expect(total)
    with ExitStack() as stack:
        table = None
        if out is not None:
            table = TokenTable(stack.enter_context(_destination(out)), reference is not None)
            stack.callback(table.close)
        limits = min((budget(one.head) for one in (scorer, reference) if one is not None), key=lambda one: one.tokens)
        for batch in _batches(pieces, limits):
            for (name, ids, window), columns in zip(batch, _score(scorer, reference, batch), strict=True):
                sums.add(columns)
                if table is not None:
                    tokens = scorer.tokenizer.convert_ids_to_tokens(ids[window.first : window.end])
                    table.add(name, range(window.first, window.end), tokens, columns)
            meter.advance(sum(window.end - window.first for _, _, window in batch))
    return ScoreSummary(len(documents), sums.windows, sums.tokens, sums.estimates())


@contextmanager
def _destination(out: Path) -> Iterator[Path]:
    """Yield a temporary path, which replaces `out` on success.

    Raises:
        UserError: `out` is a folder or a URL, or cannot be written.
    """
    if is_url(str(out)):
        raise UserError(f"{out}: is a URL. Name a local file, and copy it afterwards.")
    if out.is_dir():
        raise UserError(f"{out}: is a folder. Name a file for the tokens, such as {out / 'tokens.parquet'}.")
    try:
        with replacing(out) as temporary:
            yield temporary
    except OSError as error:
        raise UserError(f"{out}: cannot be written ({error.strerror or error}).") from error


def _settings(scorer: Scorer, reference: Scorer | None, context: int | None, stride: int | None) -> tuple[int, int]:
    if reference is not None and reference.vocabulary != scorer.vocabulary:
        raise UserError(
            f"divergences need one vocabulary: {scorer.name} has {scorer.vocabulary} tokens, and "
            f"{reference.name} has {reference.vocabulary}"
        )
    bounds = [one.positions for one in (scorer, reference) if one is not None and one.positions is not None]
    longest = min(bounds, default=None)
    if context is None:
        context = DEFAULT_CONTEXT if longest is None else min(DEFAULT_CONTEXT, longest)
    if context < 2 or (longest is not None and context > longest):
        limit = "" if longest is None else f" and at most {longest}, the model's positions"
        raise UserError(f"context = {context}: must be at least 2{limit}")
    stride = max(1, context // 2) if stride is None else stride
    if not 1 <= stride <= context:
        raise UserError(f"stride = {stride}: must be from 1 to the context, {context}")
    return context, stride


def _encode(scorer: Scorer, document: NamedText) -> list[int]:
    ids: list[int] = scorer.tokenizer(document.text, verbose=False)["input_ids"]
    return ids


def _batches(pieces: Sequence[Piece], limits: Budget) -> Iterator[list[Piece]]:
    """Yield `pieces` in order, in batches within `limits`.

    A piece that is longer makes a batch of its own. Nearly all windows have equal length.
    """
    batch: list[Piece] = []
    for piece in pieces:
        width = max(window.end - window.begin for _, _, window in [*batch[:1], piece])
        if batch and not limits.holds(len(batch) + 1, width):
            yield batch
            batch = []
        batch.append(piece)
    yield batch


@torch.inference_mode()
def _score(scorer: Scorer, reference: Scorer | None, batch: Sequence[Piece]) -> list[dict[str, np.ndarray]]:
    """Return the statistics of each window in `batch`, as a mapping from column name to one value per scored token.

    Token ids are a column too. A reference adds the divergences.
    """
    sequences = [ids[window.begin : window.end] for _, ids, window in batch]
    spans = [(window.first - window.begin, window.end - window.begin) for _, _, window in batch]
    rows_TX, target_T = scored_rows(scorer.head, sequences, spans)
    stats = scorer.head.stats(rows_TX, target_T, STATISTICS)
    columns = {name: getattr(stats, name) for name in STATISTICS}
    columns["token_id"] = target_T
    if reference is not None:
        other_TX, _ = scored_rows(reference.head, sequences, spans)
        divergence = scorer.head.divergence(rows_TX, reference.head, other_TX, DIVERGENCES)
        columns |= {name: getattr(divergence, name) for name in DIVERGENCES}
    lengths = [high - low for low, high in spans]
    found = zip(columns, to_host(list(columns.values())), strict=True)
    parts = {name: column.split(lengths) for name, column in found}
    return [{name: part[index].numpy() for name, part in parts.items()} for index in range(len(batch))]
