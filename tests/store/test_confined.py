"""Nothing that a run directory or its manifests say leads out of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from autophage.errors import StoreError, UserError
from autophage.host.naming import require_inside
from autophage.recipe.arms import arm_name
from autophage.recipe.schema import Recipe
from autophage.store.confined import require_confined
from autophage.store.manifest import INDENT, MANIFEST, Manifest, read_manifest, write_manifest
from autophage.store.rundir import RunDirectory
from autophage.store.seal import sealed, unsealed

FILE = {"bytes": 1, "sha256": "0" * 64}


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    run = RunDirectory(tmp_path / "run")
    folder = run.generation("main", 0)
    (folder / "adapter").mkdir(parents=True)
    write_manifest(folder, Manifest("main", 0, None, {"metrics.json": FILE}, {}, {}, {}, {}, "exact"))
    return run


OUT = [
    "../x",
    "/etc/passwd",
    "adapter/../../x",
    "a//b",
    "./a",
    "a/",
    "",
    ".",
    "..",
    "a\0b",
    "\ud800",
    "n" * 256,
    "a/" * 2100 + "b",
]


@pytest.mark.parametrize("name", OUT)
def test_a_member_that_may_lead_out_is_refused(name: str, run: RunDirectory) -> None:
    with pytest.raises(ValueError, match=r"path|inside"):
        require_inside(name)
    path = run.generation("main", 0) / MANIFEST
    path.write_text(sealed(unsealed(path, INDENT) | {"files": {name: FILE}}, INDENT), "utf-8")
    with pytest.raises(StoreError, match="is not a manifest"):
        read_manifest(path.parent)


@pytest.mark.parametrize(
    ("field", "value"), [("arm", ""), ("arm", "../../elsewhere"), ("arm", "other"), ("generation", 1)]
)
def test_a_manifest_that_says_it_is_elsewhere_is_refused(field: str, value: object, run: RunDirectory) -> None:
    path = run.generation("main", 0) / MANIFEST
    path.write_text(sealed(unsealed(path, INDENT) | {field: value}, INDENT), "utf-8")
    with pytest.raises(StoreError, match="its manifest is of"):
        read_manifest(path.parent)


@pytest.mark.parametrize("name", ["corpus-00000.parquet", "adapter/adapter_model.safetensors", "a..b", "..a"])
def test_a_member_inside_is_taken(name: str) -> None:
    assert require_inside(name) == name


@pytest.mark.parametrize("name", ["../x", "/x", "a/b", "..", ".hidden", "-x", "x\n", "a\0b", "", "x" * 65])
def test_a_run_has_no_name_that_leads_elsewhere(name: str) -> None:
    with pytest.raises(ValidationError):
        Recipe(name=name)


@pytest.mark.parametrize("value", ["../../x", "/etc", "..", "a\0b\n"])
def test_an_arm_has_no_name_that_leads_elsewhere(value: str) -> None:
    name = arm_name({"sample.system": value})
    assert require_inside(name) == name
    assert "/" not in name


@pytest.mark.parametrize(
    "place", ["arms", "arms/main", "arms/main/gen-000", "arms/main/gen-000/adapter", "logs", "recipe.toml"]
)
def test_a_link_that_leads_out_is_named(place: str, run: RunDirectory, tmp_path: Path) -> None:
    require_confined(run)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    link = run.root / place
    if link.exists():
        link.rename(elsewhere / "moved")
    link.symlink_to(elsewhere / "moved")
    with pytest.raises(UserError, match="leads out of the run directory") as refusal:
        require_confined(run)
    assert str(link) in str(refusal.value)


def test_links_inside_and_a_run_that_is_a_link_are_fine(run: RunDirectory, tmp_path: Path) -> None:
    (run.root / "newest").symlink_to("arms/main/gen-000")
    (tmp_path / "run-link").symlink_to(run.root)
    require_confined(RunDirectory(tmp_path / "run-link"))
