"""Two tokenizers made here, and common operations on any tokenizer.

`word_tokenizer` has one token per word, for a world. `byte_pair_tokenizer` is byte-level BPE trained on a text. Both
are saved as standard Hugging Face files. This module does not know models.

Text is text. A tokenizer from here encodes a string like `<s>` in a document or a question by its characters, and never
as the control token of that name. Only chat templates write control tokens (`chat_template`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from autophage.data.own_code import own_code_refused
from autophage.errors import UserError, foreign_errors

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PAD, START, END, UNKNOWN = "<pad>", "<s>", "</s>", "<unk>"
SPECIAL = [PAD, START, END, UNKNOWN]


def word_tokenizer(vocabulary: list[str]) -> PreTrainedTokenizerBase:
    """Return a tokenizer with one token per whitespace-separated word of `vocabulary`.

    Special tokens have the first ids, then `vocabulary` in order. Any other word is the unknown token.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers

    entries = {word: index for index, word in enumerate([*SPECIAL, *vocabulary])}
    tokenizer = Tokenizer(models.WordLevel(entries, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return _hugging_face(tokenizer)


def byte_pair_tokenizer(texts: Iterable[str], size: int) -> PreTrainedTokenizerBase:
    """Return a tokenizer with byte-level BPE, trained on `texts`.

    `size` limits the number of entries, special tokens included. Any text survives encoding and decoding.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return _hugging_face(tokenizer)


def load_tokenizer(path: str) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a model folder or hub id.

    Raises:
        UserError: The tokenizer is missing or unreadable, needs its own code, or has no end-of-text token.
    """
    from transformers import AutoTokenizer

    with (
        foreign_errors(
            f"{path}: has no tokenizer that can be loaded",
            "A model folder needs tokenizer.json (or the files of a slow tokenizer) and tokenizer_config.json beside its "
            "weights. Files of a newer transformers need that version.",
        ),
        own_code_refused(path),
    ):
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    if tokenizer.eos_token_id is None:
        raise UserError(
            f"{path}: its tokenizer names no eos_token, so no document could end. Set it in tokenizer_config.json."
        )
    return _plain_text(tokenizer)


def _plain_text(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """Make plain text the default of `encode`. Saved files of the tokenizer do not hold this."""
    tokenizer.split_special_tokens = True
    return tokenizer


def control_words(tokens: Iterable[str], texts: Iterable[str]) -> Counter[str]:
    """Count the strings in `texts` that a tokenizer with the special tokens `tokens` reserves for control tokens."""
    words = sorted({token for token in tokens if token}, key=len, reverse=True)
    if not words:
        return Counter()
    reserved = re.compile("|".join(map(re.escape, words)))
    return Counter(found.group() for text in texts for found in reserved.finditer(text))


def start_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the token ids that open a document: the start token alone.

    Tokenizers without a start token (GPT-2, OPT, Qwen) open with the end token.
    """
    start = tokenizer.bos_token_id
    return [tokenizer.eos_token_id if start is None else start]


def decode(tokenizer: PreTrainedTokenizerBase, token_ids: list[int], *, special: bool = True) -> str:
    """Return the text of one sequence of token ids, without special tokens if `special` is False."""
    return str(tokenizer.decode(token_ids, skip_special_tokens=not special))


def _hugging_face(tokenizer: object) -> PreTrainedTokenizerBase:
    from transformers import PreTrainedTokenizerFast

    return _plain_text(
        PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            pad_token=PAD,
            bos_token=START,
            eos_token=END,
            unk_token=UNKNOWN,
            clean_up_tokenization_spaces=False,
        )
    )
