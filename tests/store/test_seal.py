"""A sealed file is unchanged or refused, whichever bit is flipped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from autophage.errors import StoreError
from autophage.store.manifest import MANIFEST, Manifest, read_manifest, write_manifest
from autophage.store.rundir import RunDirectory
from autophage.store.seal import sealed, unsealed


def every_flip(content: bytes) -> list[bytes]:
    return [
        content[:place] + bytes([content[place] ^ (1 << bit)]) + content[place + 1 :]
        for place in range(len(content))
        for bit in range(8)
    ]


def test_any_flipped_bit_of_a_manifest_is_found(tmp_path: Path) -> None:
    files = {"metrics.json": {"bytes": 12, "sha256": "ab" * 32}}
    manifest = Manifest("main", 0, None, files, {"samples": 3}, {"run": 1}, {"digest": "c"}, {"numpy": "2"}, "exact")
    folder = RunDirectory(tmp_path).generation("main", 0)
    folder.mkdir(parents=True)
    write_manifest(folder, manifest)
    assert read_manifest(folder) == manifest
    path = folder / MANIFEST
    for damaged in every_flip(path.read_bytes()):
        path.write_bytes(damaged)
        with pytest.raises(StoreError, match=MANIFEST):
            read_manifest(folder)


def test_any_flipped_bit_of_the_environment_is_found(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.write_environment({"threads": 2, "model": {"digest": None, "path": "gaussian"}})
    for damaged in every_flip(run.environment.read_bytes()):
        run.environment.write_bytes(damaged)
        with pytest.raises(StoreError, match="environment"):
            run.read_environment()


def test_a_file_without_a_seal_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "made.json"
    path.write_text(json.dumps({"threads": 2}))
    with pytest.raises(StoreError, match="seal"):
        unsealed(path, 1)


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "torn.json"
    for content in (b"", b"[1]", b"\xff", sealed({"threads": 2}, 1).encode()[:-7]):
        path.write_bytes(content)
        with pytest.raises(StoreError, match=r"torn\.json: is not"):
            unsealed(path, 1)
