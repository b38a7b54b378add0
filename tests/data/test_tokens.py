from __future__ import annotations

from pathlib import Path

from autophage.data.tokens import byte_pair_tokenizer, control_words, load_tokenizer, word_tokenizer

TEXT = "The <unk> harbour was <s>new</s> rebuilt <pad> by masons."


def test_names_of_control_tokens_in_a_text_are_text(tmp_path: Path) -> None:
    own = byte_pair_tokenizer([TEXT], 400)
    own.save_pretrained(tmp_path)
    for tokenizer in (own, load_tokenizer(str(tmp_path))):
        ids = tokenizer.encode(TEXT, add_special_tokens=False)
        assert tokenizer.decode(ids, skip_special_tokens=True) == TEXT
        assert not set(ids) & set(tokenizer.all_special_ids)


def test_saved_files_of_a_tokenizer_do_not_say_so(tmp_path: Path) -> None:
    word_tokenizer(["one"]).save_pretrained(tmp_path)
    load_tokenizer(str(tmp_path)).save_pretrained(tmp_path / "again")
    for folder in (tmp_path, tmp_path / "again"):
        assert "split_special_tokens" not in (folder / "tokenizer_config.json").read_text("utf-8")


def test_control_words_are_counted_longest_first() -> None:
    assert control_words(["<s>", "<s>x"], ["<s> <s>x", "<s>"]) == {"<s>": 2, "<s>x": 1}
    assert not control_words([], ["<s>"])
