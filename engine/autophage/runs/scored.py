"""Score texts from Python: per-token statistics of any text under any model, as a table."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import pyarrow as pa


def score(
    model: str | os.PathLike[str],
    texts: str | Sequence[str],
    *,
    adapter: str | os.PathLike[str] | None = None,
    reference: str | os.PathLike[str] | None = None,
    context: int | None = None,
    stride: int | None = None,
    dtype: Literal["auto", "float32", "bfloat16"] = "auto",
) -> pa.Table:
    """Score texts under a model, token by token, over the whole vocabulary.

    Each text is scored alone. Its first token has no context and is not scored.

    Args:
        model: Model folder or hub id.
        texts: One text or several.
        adapter: PEFT adapter folder to put on the model.
        reference: Another model of the same vocabulary. Adds the columns `kl` and `reverse_kl`.
        context: Tokens of a window; 1024 if None, or fewer where the model has fewer positions.
        stride: Tokens from one window to the next; half of the context if None. Each token is scored once.
        dtype: Element type of the weights; `"auto"` is float32 on a CPU and bfloat16 on a GPU.

    Returns:
        A row per scored token. `document` is the index of the text, `position` that of the token in its text.
        `token_id` and `token` name the token. `logprob`, `entropy`, `kl` (of the model to the reference) and
        `reverse_kl` are in nats, `varentropy` in nats^2. `max_prob` is the probability of `argmax`, the likeliest token.
        `mass_above` is the probability of all tokens that are likelier than this one, and `rank` their number plus one.
        `ties` counts the tokens that are as likely as this one, itself included.

    Raises:
        UserError: A model or adapter cannot be loaded, the vocabularies differ, no text has two tokens, or the context
            or stride is out of range.

    Examples:
        >>> table = ap.score("google/gemma-3-1b-it", ["The sea was calm."])
        >>> table.to_pandas()[["token", "logprob", "entropy", "rank"]]
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from autophage.scoring import NamedText, load_scorer, score_documents

    scorer = load_scorer(os.fspath(model), None if adapter is None else Path(adapter), dtype)
    other = None if reference is None else load_scorer(os.fspath(reference), None, dtype)
    listed = [texts] if isinstance(texts, str) else texts
    documents = [NamedText(str(index), text) for index, text in enumerate(listed)]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "tokens.parquet"
        score_documents(scorer, documents, reference=other, context=context, stride=stride, out=out)
        table = pq.read_table(out, memory_map=False)
    return table.set_column(0, "document", table["document"].cast(pa.int32()))
