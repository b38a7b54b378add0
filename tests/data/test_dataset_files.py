from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from autophage.data.text_source import read_text
from autophage.errors import UserError
from autophage.recipe.tables.source import SourceTable

CARD = "---\nconfigs:\n- config_name: maths\n  data_files:\n  - split: train\n    path: train.jsonl\n---\n"


def write(path: Path, texts: Sequence[object], column: str = "text") -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(json.dumps({column: text}) for text in texts), encoding="utf-8")
    return path


def read(path: Path, **keys: str) -> str:
    text = read_text(SourceTable(kind="dataset", path=str(path), held_out=0.01, **keys))  # type: ignore[arg-type]
    return text.train + text.held_out


@pytest.mark.parametrize("card", [False, True])
def test_an_edited_local_dataset_gives_the_new_rows(tmp_path: Path, card: bool) -> None:
    keys = {"config": "maths"} if card else {}
    file = write(tmp_path / "d/train.jsonl", ["old words"])
    if card:
        (tmp_path / "d/README.md").write_text(CARD, "utf-8")
    assert read(tmp_path / "d", **keys) == "old words"
    stamp = file.stat().st_mtime_ns
    write(file, ["new words"])
    os.utime(file, ns=(stamp, stamp))  # same size, same time: only the content tells
    assert read(tmp_path / "d", **keys) == "new words"


def test_two_folders_of_one_name_are_two_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for parent in ("one", "two"):
        write(tmp_path / parent / "train.jsonl", [f"words of {parent}"])
        monkeypatch.chdir(tmp_path)
        os.makedirs(parent + "-d", exist_ok=True)
        monkeypatch.chdir(tmp_path / (parent + "-d"))
        os.rename(tmp_path / parent, "d")
        Path("d/README.md").write_text(CARD, "utf-8")
        assert read(Path("d"), config="maths") == f"words of {parent}"


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet", ".csv"])
def test_a_single_file(tmp_path: Path, suffix: str) -> None:
    import pandas as pd

    frame = pd.DataFrame({"text": ["one", "two"]})
    path = tmp_path / f"f{suffix}"
    if suffix == ".jsonl":
        frame.to_json(path, orient="records", lines=True)
    elif suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False)
    assert read(path) == "one\ntwo"
    with pytest.raises(UserError, match=r'is a dataset file. Read it with source.kind = "dataset"'):
        read_text(SourceTable(kind="text", path=str(path)))


def test_what_save_to_disk_wrote(tmp_path: Path) -> None:
    import datasets

    rows = datasets.Dataset.from_dict({"text": ["one", "two"]})
    rows.save_to_disk(tmp_path / "rows")
    datasets.DatasetDict(train=rows, test=rows.select([1])).save_to_disk(tmp_path / "splits")
    assert read(tmp_path / "rows") == read(tmp_path / "splits") == "one\ntwo"
    assert read(tmp_path / "splits", split="test") == "two"
    with pytest.raises(UserError, match="its splits are train, test"):
        read(tmp_path / "splits", split="validation")


def test_conversations_and_rows_without_text(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "When?"}, {"role": "assistant", "content": "In 1000."}]
    path = write(tmp_path / "f.jsonl", [turns, turns], "messages")
    assert read(path, column="messages") == "When?\nIn 1000.\nWhen?\nIn 1000."
    path = write(tmp_path / "g.jsonl", ["words", None, None])
    assert read_text(SourceTable(kind="dataset", path=str(path))).notes == (
        "source.path: left out 2 rows of the dataset without text",
    )
    path = write(tmp_path / "h.jsonl", [1, 2])
    with pytest.raises(UserError, match=r"holds no text. It needs strings, or lists of messages"):
        read(path)


def test_a_content_of_parts_and_messages_without_text(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "When?"}, {"type": "text", "text": "Where?"}]
    turns = [[{"role": "user", "content": parts}, {"role": "assistant", "content": [{"type": "image", "text": None}]}]]
    text = read_text(SourceTable(kind="dataset", path=str(write(tmp_path / "f.jsonl", turns)), held_out=0.01))
    assert text.train + text.held_out == "When?\nWhere?"
    assert text.notes == ("source.path: left out 1 message without text",)


@pytest.mark.parametrize("name", ["f.csv", "folder/train.csv"])
def test_cells_of_a_text_column_are_text(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("number,text\n1,007\n2,1e5\n", "utf-8")
    assert read(path.parent if name.startswith("folder") else path) == "007\n1e5"


@pytest.mark.parametrize("name", ["[raw] data", "a*b", "what?", "a::b"])
def test_a_name_that_is_a_pattern(tmp_path: Path, name: str) -> None:
    file = write(tmp_path / name / "train.jsonl", ["words"])
    (tmp_path / name / "README.md").write_text(CARD, "utf-8")
    assert read(file) == read(tmp_path / name, config="maths") == "words"


@pytest.mark.parametrize(
    ("split", "expected"), [("train[:2]", "a b"), ("train[75%:]", "d"), ("train[3:]+train[:1]", "d a")]
)
def test_parts_of_splits(tmp_path: Path, split: str, expected: str) -> None:
    import datasets

    rows = datasets.Dataset.from_dict({"text": list("abcd")})
    rows.save_to_disk(tmp_path / "rows")
    datasets.DatasetDict(train=rows, test=rows).save_to_disk(tmp_path / "splits")
    rows.to_json(tmp_path / "f.jsonl")
    for path in ("rows", "splits", "f.jsonl"):
        assert read(tmp_path / path, split=split) == expected.replace(" ", "\n")


def test_a_test_split_of_the_same_rows_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "f.jsonl", ["one", "two", "three", "four"])
    with pytest.raises(UserError, match="nothing would be held out"):
        read(path, test_split="test")
    assert read(path, split="train[:75%]", test_split="train[75%:]") == "one\ntwo\nthree" + "four"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("f.csv", "text\nwords\n".encode("utf-16"), r"is UTF-16, not UTF-8. Convert it: `iconv -f UTF-16 "),
        ("f.csv", "text\nwords\n".encode("utf-16-le"), r"iconv -f UTF-16LE"),
        ("f.jsonl", '{"text": "M\u00e1laga"}\n'.encode("latin-1"), r"is not UTF-8 \(byte 0xe1"),
        ("f.jsonl", b"", "f.jsonl: is empty"),
        ("f.jsonl.gz", b"\x1f\x8b", "is no dataset file"),
    ],
)
def test_the_reason_is_told_with_the_file(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as refusal:
        read(tmp_path / name)
    assert "cannot be loaded" not in str(refusal.value)
