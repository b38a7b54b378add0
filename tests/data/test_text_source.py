from __future__ import annotations

import json
from pathlib import Path

import pytest

from autophage.data.build import bind, prompt_style, read_source
from autophage.data.text_source import read_text
from autophage.data.tokens import byte_pair_tokenizer
from autophage.errors import UserError
from autophage.recipe.schema import Recipe
from autophage.recipe.tables.mix import MixTable
from autophage.recipe.tables.sample import SampleTable
from autophage.recipe.tables.source import SourceTable

TEXT = "".join(f"Line {n} tells of number {n * n} and of the sea, twice over.\n" for n in range(400))
TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def recipe(path: Path, **sample: object) -> Recipe:
    source = SourceTable(kind="text", path=str(path), block=16, continuation=8)
    return Recipe(name="t", source=source, sample=SampleTable(**sample))  # type: ignore[arg-type]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def test_blocks_and_their_human_continuations(file: Path) -> None:
    told = recipe(file)
    raw = read_source(told)
    tokenizer = byte_pair_tokenizer([TEXT], 400)
    source = bind(raw, tokenizer, told)
    ids = tokenizer.encode(raw.content.train, add_special_tokens=False)  # type: ignore[union-attr]
    windows = [ids[start : start + 24] for start in range(0, len(ids) - 23, 24)]
    items = source.items(1, 30)
    for item in items:
        assert item.prompt_ids[0] == tokenizer.bos_token_id
        assert item.prompt_ids[1:] + item.continuation_ids in windows
    assert len({tuple(item.prompt_ids) for item in items}) == 30
    assert source.items(1, 30) == items
    assert source.items(2, 30) != items


def test_more_items_than_windows_go_round_again(file: Path) -> None:
    told = recipe(file)
    source = bind(read_source(told), byte_pair_tokenizer([TEXT], 400), told)
    assert len(source.items(1, 5000)) == 5000


def test_the_held_out_end_is_never_an_item(file: Path) -> None:
    told = recipe(file)
    raw = read_source(told)
    assert raw.content.train + raw.content.held_out == TEXT  # type: ignore[operator, union-attr]  # a text
    source = bind(raw, byte_pair_tokenizer([TEXT], 400), told)
    seen = {tuple(item.prompt_ids + item.continuation_ids) for item in source.items(1, 2000)}
    assert not any(tuple(document.token_ids) in seen for document in source.held_out())


def test_a_folder_is_read_in_order(tmp_path: Path) -> None:
    for name in ("b.txt", "a.md", "skipped.bin"):
        (tmp_path / name).write_text(name * 3, encoding="utf-8")
    text = read_text(SourceTable(kind="text", path=str(tmp_path)))
    assert text.train + text.held_out == "a.mda.mda.md\n\nb.txtb.txtb.txt"


def test_a_local_dataset_by_column(tmp_path: Path) -> None:
    rows = [{"body": f"row {n} of the set"} for n in range(50)]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    text = read_text(SourceTable(kind="dataset", path=str(tmp_path), column="body"))
    assert text.train.startswith("row 0 of the set\nrow 1")
    with pytest.raises(UserError, match=r"source.column = 'text': the dataset's columns are body"):
        read_text(SourceTable(kind="dataset", path=str(tmp_path)))


def test_chat_templates_are_honoured(file: Path) -> None:
    tokenizer = byte_pair_tokenizer([TEXT], 400)
    assert prompt_style(recipe(file), tokenizer) == "blocks"
    with pytest.raises(UserError, match="no chat template"):
        prompt_style(recipe(file, prompts="instruct"), tokenizer)
    tokenizer.chat_template = TEMPLATE
    told = recipe(file, system="Go on.")
    assert prompt_style(told, tokenizer) == "instruct"
    prompt = str(tokenizer.decode(bind(read_source(told), tokenizer, told).prompts(1, 1)[0]))
    assert prompt.startswith("<system>Go on.<user>")
    assert prompt.endswith("<assistant>")


def test_a_template_without_a_system_role_gets_it_in_the_users_turn(file: Path) -> None:
    tokenizer = byte_pair_tokenizer([TEXT], 400)
    tokenizer.chat_template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no') }}{% endif %}" + TEMPLATE
    )
    told = recipe(file, system="Go on.")
    prompt = str(tokenizer.decode(bind(read_source(told), tokenizer, told).prompts(1, 1)[0]))
    assert prompt.startswith("<user>Go on.\n\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no text"),
        (b"  \n\t ", "holds no text"),
        ("Gar\xe7on, un caf\xe9".encode("latin-1"), r"is not UTF-8 \(byte 0xe7 at position 3\).*iconv"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_text(SourceTable(kind="text", path=str(path)))


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_text(SourceTable(kind="text", path=str(tmp_path / "none.txt")))
    with pytest.raises(UserError, match=r"holds no \.txt"):
        read_text(SourceTable(kind="text", path=str(tmp_path)))
    with pytest.raises(UserError, match="cannot be loaded as a dataset"):
        read_text(SourceTable(kind="dataset", path=str(tmp_path / "nothing")))


def test_a_text_too_short_for_a_window_says_so(tmp_path: Path) -> None:
    path = tmp_path / "short.txt"
    path.write_text("A few words only.", encoding="utf-8")
    told = recipe(path)
    with pytest.raises(UserError, match="too short"):
        bind(read_source(told), byte_pair_tokenizer([TEXT], 400), told)


def test_the_reference_is_of_the_training_part_whatever_the_prompts(file: Path) -> None:
    tokenizer = byte_pair_tokenizer([TEXT], 400)
    told = recipe(file, prompts="bos")
    raw = read_source(told)
    documents = bind(raw, tokenizer, told).reference(10)
    assert len(documents) == 10
    assert bind(raw, tokenizer, recipe(file, prompts="blocks")).reference(10) == documents
    everything = bind(raw, tokenizer, told).reference(10**6)
    ids = tokenizer.encode(raw.content.train, add_special_tokens=False)  # type: ignore[union-attr]
    assert [token for document in everything for token in document] == ids[: len(ids) // 24 * 24]


def test_a_domain_is_the_windows_with_a_keyword(file: Path) -> None:
    told = recipe(file).model_copy(update={"mix": MixTable(domain="7, 49")})
    tokenizer = byte_pair_tokenizer([TEXT], 400)
    source = bind(read_source(told), tokenizer, told)
    for item in source.items(1, 6):
        words = str(tokenizer.decode(item.prompt_ids[1:] + item.continuation_ids)).split()
        assert {"7", "49"} & set(words)
    whole = bind(read_source(recipe(file)), tokenizer, recipe(file))
    assert source.held_out() == whole.held_out()
    assert source.reference(50) == whole.reference(50)
    again = bind(read_source(told), tokenizer, told, earlier=whole)
    assert again.items(3, 40) == source.items(3, 40) != whole.items(3, 40)
    assert bind(read_source(told), tokenizer, recipe(file), earlier=again).items(3, 40) == whole.items(3, 40)


def test_a_domain_without_a_window_is_refused(file: Path) -> None:
    told = recipe(file).model_copy(update={"mix": MixTable(domain="zebra")})
    with pytest.raises(UserError, match=r"mix\.domain = 'zebra': none of the \d+ windows"):
        bind(read_source(told), byte_pair_tokenizer([TEXT], 400), told)
