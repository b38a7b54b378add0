"""Any bytes as a corpus shard or a text give rows or windows, or one message that names the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from tests.fuzz.timebox import fuzz

from autophage.data.text_source import read_text
from autophage.errors import StoreError, UserError
from autophage.recipe.tables.source import SourceTable
from autophage.store.corpus import Sample, read_samples, write_corpus

pytestmark = pytest.mark.thorough

FLIPS = st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(1, 255)), min_size=1, max_size=8)
CUTS = st.tuples(st.integers(0, 1 << 20), st.integers(0, 1 << 20), st.binary(max_size=16))


def shard(folder: Path) -> bytes:
    values = np.linspace(0, 1, 5, dtype=np.float32)
    statistics: dict[str, Any] = dict.fromkeys(("logprob", "entropy", "varentropy", "max_prob"), values)
    samples = [
        Sample(f"id{n}", "<s>", "a \u2603\0", [1], [5, 6, 7, 8, 9], "stop", n, rank=np.arange(5), **statistics)
        for n in range(3)
    ]
    return write_corpus(folder, samples)[0].read_bytes()


def test_shards(tmp_path: Path) -> None:
    whole = shard(tmp_path)
    path = tmp_path / "corpus-00000.parquet"
    outcomes = set()

    def look(content: bytes) -> None:
        path.write_bytes(content)
        try:
            read_samples([path])
            outcomes.add("read")
        except StoreError as error:
            outcomes.add("refused" if str(path) in str(error) else f"refused without its place: {error}")

    def flipped(flips: list[tuple[int, int]]) -> bytes:
        content = bytearray(whole)
        for place, mask in flips:
            content[place % len(content)] ^= mask
        return bytes(content)

    def cut(place: tuple[int, int, bytes]) -> bytes:
        first, second = sorted((place[0] % len(whole), place[1] % len(whole)))
        return whole[:first] + place[2] + whole[second:]

    look(whole)
    fuzz(st.binary(max_size=200), look, share=0.1)
    fuzz(FLIPS.map(flipped), look, share=0.3)
    fuzz(CUTS.map(cut), look, share=0.3)
    assert outcomes == {"read", "refused"}


def test_texts(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    path = folder / "a.txt"
    source = SourceTable(kind="text", path=str(folder))
    outcomes = set()

    def look(content: bytes) -> None:
        path.write_bytes(content)
        try:
            text = read_text(source)
            outcomes.add("read")
            assert isinstance(text.train + text.held_out, str)
        except UserError as error:
            outcomes.add("refused" if str(folder) in str(error) else f"refused without its place: {error}")

    texts = st.text(max_size=300).map(lambda text: text.encode("utf-8", "surrogatepass"))
    fuzz(st.one_of(st.binary(max_size=300), texts), look, share=0.3)
    assert outcomes == {"read", "refused"}
