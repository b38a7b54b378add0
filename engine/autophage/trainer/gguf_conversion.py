"""A GGUF file as a model folder, read by transformers, with a canary sentence to show that nothing was lost.

A file holds weights, tokenizer and chat template of a model in llama.cpp's form. transformers rebuilds all three, but
not the rule that a start token stands before a text. Gemma without it babbles. The conversion puts the rule back where
the file states it. Float tensors keep their type. Quantised ones become bfloat16: what they were rounded from is gone.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
from pathlib import Path
from typing import Any

from autophage.data.chat_template import ChatTemplate
from autophage.data.gguf_file import BFLOAT16, FLOAT16, FLOAT32, GgufHeader, read_header
from autophage.errors import UserError, foreign_errors

VERSION = 1
"""Version of converted folders. Raise it when the conversion changes."""
CANARY = "The capital of France is Paris, and the river that flows through the city is the Seine."
"""A plain sentence whose words every model of English expects."""
CLEARLY = 0.5
"""Nats per token from which on one way of opening a text is worse than another."""
NOTHING = 0.1
"""Share of the nats of a uniform guess that a trained model falls below with ease."""


def require_gguf(path: str) -> None:
    """Check that the package `gguf` is installed, and that a GGUF file is whole.

    Raises:
        UserError: It is not.
    """
    read_header(Path(path))
    try:
        import gguf  # noqa: F401
    except ImportError as error:
        raise UserError(
            f'model.path = {path!r}: a GGUF file needs the package gguf. Run pip install "autophage[gguf]", or give a model '
            "folder."
        ) from error


def convert(path: Path, folder: Path) -> list[str]:
    """Write the model of a GGUF file into `folder` as safetensors, with its tokenizer. Return notes for the user.

    Raises:
        UserError: transformers cannot read the file, or its tokenizer does not give a plain sentence back.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    header = read_header(path)
    architecture = header.metadata.get("general.architecture")
    disable_progress_bar()
    with (
        foreign_errors(
            f"{path}: transformers cannot convert it (architecture {architecture})",
            "Give the model folder that it was made from, or use a newer transformers.",
        ),
        contextlib.redirect_stderr(io.StringIO()),  # a bar over the tensors would disturb the view of a run
    ):
        tokenizer: Any = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
        model: Any = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    # The weights are plain now. transformers takes the model for a quantised one, and would refuse to save it.
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.eval()
    stored = {FLOAT32: torch.float32, FLOAT16: torch.float16, BFLOAT16: torch.bfloat16}.get(header.matrix_type)
    notes = [_first_note(path, str(stored or torch.bfloat16).removeprefix("torch."), quantised=stored is None)]
    notes += mend_start(tokenizer, header)
    _require_round_trip(path, tokenizer)
    notes += _template_notes(tokenizer, header)
    notes += surprise_notes(model, tokenizer)
    for parameter in model.parameters():
        # Norms are stored in float32 beside matrices in float16. Their own type loses nothing.
        if parameter.ndim > 1 or stored is None:
            parameter.data = parameter.data.to(stored or torch.bfloat16)
    model.config.dtype = stored or torch.bfloat16
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    _drop_foreign_tokens(folder, header)
    return notes


def _first_note(path: Path, dtype: str, *, quantised: bool) -> str:
    origin = "its weights are quantised, so this is a rounded model" if quantised else "its weights keep their values"
    return f"model.path: {path} was converted to safetensors in {dtype}; {origin}"


def mend_start(tokenizer: Any, header: GgufHeader) -> list[str]:
    """Let a tokenizer begin each text with the start token that its file asks for. Return notes for the user."""
    from tokenizers.processors import TemplateProcessing

    start = header.start_id
    if start is None or list(tokenizer.encode(CANARY))[:1] == [start]:
        return []
    word = str(tokenizer.convert_ids_to_tokens(start))
    tokenizer.bos_token = word
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{word}:0 $A:0", pair=f"{word}:0 $A:0 {word}:1 $B:1", special_tokens=[(word, start)]
    )
    return [f"its tokenizer had lost the start token {word!r}, which the file puts before every text. It has it again"]


def _drop_foreign_tokens(folder: Path, header: GgufHeader) -> None:
    """Remove added tokens that the file's vocabulary lacks from a saved tokenizer.

    transformers builds byte-level vocabularies on GPT-2's tokenizer, whose "<|endoftext|>" joins as one token too many.
    """
    count = header.metadata.get("tokenizer.ggml.tokens")
    file = folder / "tokenizer.json"
    described = json.loads(file.read_text("utf-8"))
    kept = [one for one in described["added_tokens"] if count is None or one["id"] < count]
    if len(kept) < len(described["added_tokens"]):
        file.write_text(json.dumps({**described, "added_tokens": kept}, ensure_ascii=False), "utf-8")


def _require_round_trip(path: Path, tokenizer: Any) -> None:
    """Refuse a tokenizer that does not give a plain sentence back: the model would read other words than ours."""
    ids = tokenizer.encode(CANARY, add_special_tokens=False)
    back = str(tokenizer.decode(ids)).strip()
    if back != CANARY:
        raise UserError(
            f"{path}: its tokenizer cannot be converted. It makes {back!r} of the sentence {CANARY!r}. Give the model folder "
            "that the file was made from."
        )


def _template_notes(tokenizer: Any, header: GgufHeader) -> list[str]:
    """Return notes about a chat template that was lost, cannot be used, or whose control tokens fall apart."""
    if not header.metadata.get("tokenizer.chat_template"):
        return []
    if not tokenizer.chat_template:
        return ["its chat template was lost in the conversion. Questions and prompts are plain text"]
    template = ChatTemplate(tokenizer)
    message = {"role": "user", "content": CANARY}
    try:
        ids, text = template.ids([message]), template.text([message])
    except UserError as error:
        return [str(error)]
    if CANARY not in text or str(tokenizer.decode(ids)).strip() != text.strip():
        return [
            "its chat template does not give a plain sentence back, so questions and prompts in it may be garbled. Mend "
            "chat_template.jinja in the converted folder and give that as model.path, or do without it (questions.chat = false)"
        ]
    return []


def surprise_notes(model: Any, tokenizer: Any) -> list[str]:
    """Return notes about a model that finds a plain sentence as surprising as noise, or its start token a disturbance."""
    from autophage.data.tokens import start_ids

    ids = tokenizer.encode(CANARY, add_special_tokens=False)
    opened, alone = _nats(model, start_ids(tokenizer), ids), _nats(model, [], ids)
    noise = (1 - NOTHING) * math.log(model.get_input_embeddings().weight.shape[0])
    if min(opened, alone) > noise:
        return [
            f"the model finds a plain English sentence as surprising as noise ({opened:.1f} nats a token). The file may be "
            "broken, or untrained"
        ]
    if opened > alone + CLEARLY:
        return [
            f"the model finds a sentence after its start token more surprising ({opened:.1f} nats a token) than without "
            f"({alone:.1f}). autophage opens every text with it"
        ]
    return []


def _nats(model: Any, opening: list[int], ids: list[int]) -> float:
    """Return the mean surprisal of all tokens of a sentence but the first, in nats."""
    import torch

    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([[*opening, *ids]], device=model.device)).logits[0, len(opening) : -1]
    picked = logits.float().log_softmax(-1).gather(1, torch.tensor(ids[1:], device=logits.device)[:, None])
    return -float(picked.mean())
