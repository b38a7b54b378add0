from __future__ import annotations

import glob
from pathlib import Path

import pytest

from autophage.sampler.start import without_pattern


@pytest.mark.parametrize("name", ["[v1] model", "a*b", "what?"])
def test_a_folder_whose_name_is_a_pattern_gets_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "model.safetensors").write_bytes(b"weights")
    monkeypatch.chdir(tmp_path)
    assert not glob.glob(str(tmp_path / "[v1] model/*.safetensors"))
    with without_pattern(name) as path:
        (found,) = glob.glob(f"{path}/*.safetensors")
        assert Path(found).read_bytes() == b"weights"
    assert not Path(path).exists()
    assert (tmp_path / name / "model.safetensors").exists()


def test_other_paths_stay_as_they_are(tmp_path: Path) -> None:
    for given in (str(tmp_path), "google/gemma-3-1b-it", "no/such/[folder]"):
        with without_pattern(given) as path:
            assert path == given
