"""A damaged dataset is refused, gives the same rows, or says what was left out. It never gives fewer rows without a word.

A flipped bit inside a text makes another text, and two files that changed places make another dataset. Nobody can tell either.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from autophage.cli import main
from autophage.data.text_source import read_text
from autophage.errors import UserError
from autophage.recipe.tables.source import SourceTable

pytestmark = pytest.mark.thorough

TOWNS = ("Kiel", "Brest", "Cork")
TEXTS = [f'In {1000 + row} the "harbour" of {TOWNS[row % 3]}, or what was left, was rebuilt.' for row in range(12)]
FEWER = 3
CARD = "---\nconfigs:\n- config_name: {}\n  data_files:\n  - split: train\n    path: rows.jsonl\n---\n# Words\n"
FORMS = ("csv", "jsonl", "parquet", "save_to_disk", "splits", "card", "default-card")
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 987654\n"


def flipped(share: float, bit: int) -> Callable[[bytes], bytes]:
    def flip(content: bytes) -> bytes:
        place = int((len(content) - 1) * share)
        return content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :]

    return flip


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda content: content[: len(content) // 2],
    "cut by nine bytes": lambda content: content[:-9],
    "grown": lambda content: content + b"\0" * 16,
    "zeroed": lambda content: bytes(len(content)),
    "zeroed from the middle": lambda content: content[: len(content) // 2] + bytes(len(content) - len(content) // 2),
    "emptied": lambda content: b"",
    "a pointer": lambda content: LFS,
    "a page": lambda content: b"<!DOCTYPE html><html>not found</html>",
    **{f"flipped at {share}, {bit:#x}": flipped(share, bit) for share in (0, 0.1, 0.5, 0.9) for bit in (0x80, 0x01)},
}
MOVES = ("removed", "renamed", "swapped")
UNTELLABLE = {("default-card", "README.md", kind) for kind in ("removed", "renamed", "flipped at 0.1, 0x1")}
"""A folder without its README, or whose README has no `configs`, is a dataset too: the one that its files' names describe."""


def make(folder: Path, form: str) -> Path:
    """Write `TEXTS` as the split train, and a smaller file beside it."""
    import datasets
    import pandas as pd

    folder.mkdir()
    frame = pd.DataFrame({"number": range(len(TEXTS)), "text": TEXTS})
    fewer = frame[:FEWER]
    if form == "csv":
        frame.to_csv(folder / "train.csv", index=False)
        fewer.to_csv(folder / "test.csv", index=False)
    elif form == "parquet":
        frame.to_parquet(folder / "train.parquet")
        fewer.to_parquet(folder / "test.parquet")
    elif form == "save_to_disk":
        datasets.Dataset.from_pandas(frame).save_to_disk(folder, num_shards=2)
    elif form == "splits":
        rows = datasets.Dataset.from_pandas(frame)
        datasets.DatasetDict(train=rows, test=rows.select(range(FEWER))).save_to_disk(folder)
    else:
        names = ("train", "test") if form == "jsonl" else ("rows", "others")
        for name, part in zip(names, (frame, fewer), strict=True):
            part.to_json(folder / f"{name}.jsonl", orient="records", lines=True)
        if form != "jsonl":
            (folder / "README.md").write_text(CARD.format("default" if form == "default-card" else "maths"), "utf-8")
    return folder


def table(folder: Path, form: str) -> SourceTable:
    return SourceTable(kind="dataset", path=str(folder), held_out=0.01, config="maths" if form == "card" else None)


def read(folder: Path, form: str) -> tuple[str, tuple[str, ...]]:
    text = read_text(table(folder, form))
    return text.train + text.held_out, text.notes


def damage(folder: Path, file: Path, other: Path, kind: str) -> None:
    target = folder / file
    if kind == "removed":
        target.unlink()
    elif kind == "renamed":
        target.rename(target.with_name(target.name + ".bak"))
    elif kind == "swapped":
        mine, theirs = target.read_bytes(), (folder / other).read_bytes()
        target.write_bytes(theirs)
        (folder / other).write_bytes(mine)
    else:
        target.write_bytes(DAMAGES[kind](target.read_bytes()))


def only_letters(found: str, right: str) -> bool:
    """Return True if two texts have the same rows, each with the same number of characters."""
    return [len(row) for row in found.split("\n")] == [len(row) for row in right.split("\n")]


@pytest.mark.parametrize("form", FORMS)
def test_no_damage_changes_rows_without_a_word(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    whole = make(tmp_path / "whole", form)
    right = "\n".join(TEXTS)
    assert read(whole, form) == (right, ())
    files = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file())
    refused = 0
    for place, file in enumerate(files):
        for kind in (*DAMAGES, *MOVES):
            folder = tmp_path / "damaged"
            shutil.copytree(whole, folder)
            damage(folder, file, files[(place + 1) % len(files)], kind)
            try:
                found, notes = read(folder, form)
            except UserError as error:
                refused += "error occurred" not in str(error)  # such an error names no cause
            else:
                told = bool(notes) or kind == "swapped" or (form, file.name, kind) in UNTELLABLE
                assert told or only_letters(found, right), f"{file} {kind}: {found!r}"
            assert not list(scratch.iterdir()), f"{file} {kind}: files are left behind"
            shutil.rmtree(folder)
    assert refused >= len(files) * len(DAMAGES) // 2, "too few damages are refused with a cause"


@pytest.mark.parametrize("form", FORMS)
def test_a_run_of_a_damaged_dataset_ends_before_it_starts(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make(tmp_path / "whole", form)
    file = max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    file.write_bytes(file.read_bytes()[:-9])
    out = tmp_path / "run"
    settings = [
        'source.kind="dataset"',
        f'source.path="{folder}"',
        *(['source.config="maths"'] if form == "card" else []),
    ]
    code = main(["run", "text", "--out", str(out), *(part for one in settings for part in ("--set", one))])
    words = capsys.readouterr().err
    assert code == 2, words
    assert "Traceback" not in words
    assert words.startswith("error: "), words
    assert file.name in words
    assert not out.exists()


def test_a_stream_that_ends_between_two_batches(tmp_path: Path) -> None:
    import datasets
    import pyarrow as pa

    folder = tmp_path / "saved"
    datasets.Dataset.from_dict({"text": TEXTS}).save_to_disk(folder)
    file = next(folder.glob("*.arrow"))
    table = pa.ipc.open_stream(file.read_bytes()).read_all()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table[:6])
        halfway = sink.tell()
        stream.write_table(table[6:])
    whole = sink.getvalue().to_pybytes()
    file.write_bytes(whole)
    assert read(folder, "save_to_disk")[0] == "\n".join(TEXTS)
    file.write_bytes(whole[:halfway])
    assert len(pa.ipc.open_stream(file.read_bytes()).read_all()) == 6  # pyarrow does not mind
    with pytest.raises(UserError, match="its end is missing"):
        read(folder, "save_to_disk")


def test_rows_with_nul_characters_are_left_out_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps({"text": text}) for text in ("one", "t\0w\0o\0", "three")), "utf-8")
    assert read(path, "jsonl") == ("one\nthree", ("source.path: left out 1 row of the dataset with NUL characters",))
    path.write_text(json.dumps({"text": "t\0w\0o\0"}), "utf-8")
    with pytest.raises(UserError, match="and no NUL characters"):
        read(path, "jsonl")


def test_pointers_among_plain_text_rows(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "a.txt").write_text("words\n", "utf-8")
    (folder / "b.txt").write_bytes(LFS)
    with pytest.raises(UserError, match="Git LFS pointer"):
        read(folder, "jsonl")
