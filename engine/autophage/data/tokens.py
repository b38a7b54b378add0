"""Two tokenizers made here, and common operations on any tokenizer.

`word_tokenizer` has one token per word, for a world. `byte_pair_tokenizer` is byte-level BPE trained on a text. Both
are saved as standard Hugging Face files. This module does not know models.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from autophage.data.own_code import refuse_own_code
from autophage.errors import UserError, first_line

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

    try:
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        refuse_own_code(path, error)
        raise UserError(
            f"{path}: has no tokenizer that can be loaded ({first_line(error)}). A model folder needs tokenizer.json "
            "(or the files of a slow tokenizer) and tokenizer_config.json beside its weights."
        ) from error
    if tokenizer.eos_token_id is None:
        raise UserError(
            f"{path}: its tokenizer names no eos_token, so no document could end. Set it in tokenizer_config.json."
        )
    return tokenizer


def start_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the token ids that open a document: the start token alone.

    Tokenizers without a start token (GPT-2, OPT, Qwen) open with the end token.
    """
    start = tokenizer.bos_token_id
    return [tokenizer.eos_token_id if start is None else start]


def apply_template(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]]) -> list[int]:
    """Return the token ids of the conversation `messages` in the model's chat template.

    The conversation is open for the assistant's turn. Templates without a system role get the system message in the
    user's turn.
    """
    from jinja2.exceptions import TemplateError

    try:
        return list(tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False))
    except TemplateError:
        merged = "\n\n".join(message["content"] for message in messages)
        turn = [{"role": "user", "content": merged}]
        return list(tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_dict=False))


def decode(tokenizer: PreTrainedTokenizerBase, token_ids: list[int], *, special: bool = True) -> str:
    """Return the text of one sequence of token ids, without special tokens if `special` is False."""
    return str(tokenizer.decode(token_ids, skip_special_tokens=not special))


def _hugging_face(tokenizer: object) -> PreTrainedTokenizerBase:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=START,
        eos_token=END,
        unk_token=UNKNOWN,
        clean_up_tokenization_spaces=False,
    )
