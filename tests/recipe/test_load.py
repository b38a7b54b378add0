from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from autophage.errors import RecipeError
from autophage.recipe import LoadedRecipe, load_recipe, paths, shipped_recipes

Load = Callable[..., LoadedRecipe]
Refuse = Callable[..., str]
NAME = 'name = "x"\n'


def message(name: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load_recipe(name)
    return str(caught.value)


def test_provenance_of_every_key(load: Load) -> None:
    loaded = load(
        NAME + "\n[train]\nepochs = 3  # a whole number for a fraction\n[sweep]\n'mix.alpha' = [1]\n", "seed=4"
    )
    origins = dict(loaded.provenance)
    assert origins.pop("name") == "demo.toml:1"
    assert origins.pop("train.epochs") == "demo.toml:4"
    assert origins.pop("sweep.mix.alpha") == "demo.toml:6"
    assert origins.pop("seed") == "--set"
    assert set(origins.values()) == {"default"}
    tables = loaded.recipe.model_dump()
    leaves = {f"{table}.{key}" for table, keys in tables.items() if isinstance(keys, dict) for key in keys}
    leaves |= {key for key, value in tables.items() if not isinstance(value, dict)}
    assert set(loaded.provenance) == leaves - {"gate"}  # what a gate says has keys of its own
    assert isinstance(loaded.recipe.train.epochs, float)
    assert loaded.path == Path("demo.toml")
    assert load(NAME).provenance["sweep"] == "default"


def test_whole_numbers_swept_for_a_fraction_name_their_arms_alike(load: Load) -> None:
    loaded = load(NAME + "sweep.mix.alpha = [1, 0.5]\nsweep.seed = [1, 2]\n")
    assert [arm.name for arm in loaded.arms] == [
        "alpha-1.0_seed-1",
        "alpha-1.0_seed-2",
        "alpha-0.5_seed-1",
        "alpha-0.5_seed-2",
        "control_seed-1",
        "control_seed-2",
    ]


# What a recipe is called


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source checkout with two recipes, and an empty working directory."""
    package = tmp_path / "checkout" / "engine" / "autophage"
    package.mkdir(parents=True)
    monkeypatch.setattr(paths, "PACKAGE", package)
    recipes = tmp_path / "checkout" / "recipes"
    recipes.mkdir()
    for name in ("demo", "curse"):
        (recipes / f"{name}.toml").write_text(f'name = "{name}"\n')
    (recipes / "README.md").write_text("no recipe")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    return recipes


def test_shipped_recipes_of_a_checkout(shipped: Path) -> None:
    assert shipped_recipes() == {"curse": shipped / "curse.toml", "demo": shipped / "demo.toml"}
    loaded = load_recipe("demo")
    assert loaded.path == shipped / "demo.toml"
    assert loaded.provenance["name"] == f"{shipped / 'demo.toml'}:1"


def test_shipped_recipes_are_named_from_the_working_directory(shipped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shipped.parent)
    assert load_recipe("demo").provenance["name"] == "recipes/demo.toml:1"


def test_shipped_recipes_of_an_installed_package_come_first(shipped: Path) -> None:
    installed = paths.PACKAGE / "recipes"
    installed.mkdir()
    (installed / "only.toml").write_text('name = "only"\n')
    assert shipped_recipes() == {"only": installed / "only.toml"}


def test_a_file_comes_before_a_shipped_recipe_and_a_folder_does_not(shipped: Path) -> None:
    Path("demo").mkdir()
    assert load_recipe("demo").recipe.name == "demo"
    Path("demo").rmdir()
    Path("demo").write_text('name = "mine"\n')
    assert load_recipe("demo").recipe.name == "mine"


def test_no_such_recipe(shipped: Path) -> None:
    expected = [
        "no recipe 'dmeo': there is no such file, and no shipped recipe of that name",
        "    did you mean demo?",
        "    shipped recipes: curse, demo",
    ]
    assert message("dmeo") == "\n".join(expected)
    assert "did you mean demo?" in message("recipes/demo.toml")
    for odd in ("", "a\0b", "x" * 5000):
        assert "shipped recipes: curse, demo" in message(odd)


# What cannot be read


def test_a_folder(tmp_path: Path) -> None:
    assert message(str(tmp_path)) == (
        f"{tmp_path}: is a folder, not a recipe\n    give a .toml file or the name of a shipped recipe"
    )
    (tmp_path / "demo.toml").touch()
    assert message(str(tmp_path)).endswith("give one of the files in it: demo.toml")


def test_what_is_no_recipe_file(tmp_path: Path) -> None:
    assert message("/dev/null").startswith("/dev/null: is not a file")
    (tmp_path / "broken").symlink_to("nowhere")
    assert message(str(tmp_path / "broken")) == f"{tmp_path}/broken: cannot be read: No such file or directory"
    model = tmp_path / "model.safetensors"
    with model.open("wb") as file:
        file.truncate(1 << 40)
    assert message(str(model)).startswith(f"{model}: is 1,099,511,627,776 bytes long")


@pytest.fixture
def stranger() -> Iterator[Path]:
    """A folder that anyone may enter. A test as root runs as another user, because root may read everything."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o755)
    (folder / "closed.toml").write_text(NAME)
    (folder / "closed.toml").chmod(0)
    (folder / "room").mkdir()
    (folder / "room" / "demo.toml").write_text(NAME)
    (folder / "room").chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield folder
    finally:
        os.seteuid(user)
        (folder / "room").chmod(0o755)
        shutil.rmtree(folder)


@pytest.mark.parametrize("name", ["closed.toml", "room/demo.toml"])
def test_a_file_that_may_not_be_read(stranger: Path, name: str) -> None:
    assert message(str(stranger / name)).startswith(f"{stranger / name}: may not be read (permission denied)")


# Paths


@pytest.fixture
def texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """recipes/{demo.toml, beside.txt}, work/{here.txt, beside.txt, model/, stray}; the working directory is work."""
    for name in ("recipes/beside.txt", "work/here.txt", "work/beside.txt", "work/stray", "work/model/config.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


def source_path(texts: Path, path: str, *overrides: str, kind: str = "text") -> str | None:
    (texts / "recipes/demo.toml").write_text(f'{NAME}[source]\nkind = "{kind}"\npath = "{path}"\n')
    return load_recipe("../recipes/demo.toml", overrides).recipe.source.path


def test_a_path_in_a_file_is_relative_to_the_file_where_it_exists_there(texts: Path) -> None:
    assert source_path(texts, "beside.txt") == f"{texts}/recipes/beside.txt"
    assert source_path(texts, "here.txt") == f"{texts}/work/here.txt"
    assert source_path(texts, "nowhere.txt") == f"{texts}/work/nowhere.txt"
    assert source_path(texts, "/else.txt") == "/else.txt"


def test_a_path_on_the_command_line_is_relative_to_the_working_directory(texts: Path) -> None:
    assert source_path(texts, "x", "source.path=beside.txt") == f"{texts}/work/beside.txt"
    assert source_path(texts, "x", "source.path=../recipes/beside.txt") == f"{texts}/recipes/beside.txt"


def test_a_home_folder_is_written_out(texts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(texts))
    assert source_path(texts, "~/work/here.txt") == f"{texts}/work/here.txt"


def test_hub_ids_stay_and_local_folders_become_absolute(texts: Path) -> None:
    assert source_path(texts, "owner/dataset", kind="dataset") == "owner/dataset"
    assert source_path(texts, "model", kind="dataset") == f"{texts}/work/model"
    for written, expected in (
        ("from-source", "from-source"),
        ("owner/name", "owner/name"),
        ("stray", "stray"),
        ("model", f"{texts}/work/model"),
    ):
        loaded = load_recipe("../recipes/demo.toml", [f"model.path={written}"])
        assert loaded.recipe.model.path == expected


def test_swept_paths_are_relative_to_where_they_are_written(texts: Path) -> None:
    for folder in ("recipes/teacher", "work/teacher", "work/base", "recipes/tasks"):
        (texts / folder).mkdir()
    (texts / "recipes/demo.toml").write_text(
        f"{NAME}[anchor]\nkl = 1\n[measure]\nharness = ['who']\n[sweep]\n"
        "'anchor.reference' = ['base', 'teacher', 'owner/name']\n'measure.harness_path' = ['tasks']\n"
    )
    loaded = load_recipe("../recipes/demo.toml")
    assert loaded.recipe.sweep == {
        "anchor.reference": ["base", f"{texts}/recipes/teacher", "owner/name"],
        "measure.harness_path": [f"{texts}/recipes/tasks"],
    }
    read = {arm.recipe.anchor.reference for arm in loaded.arms if not arm.control}
    assert read == {"base", f"{texts}/recipes/teacher", "owner/name"}
    assert "reference-teacher_harness_path-tasks" in [arm.name for arm in loaded.arms]
    over = load_recipe("../recipes/demo.toml", ['sweep."anchor.reference"=["base", "teacher"]'])
    assert over.recipe.sweep["anchor.reference"] == ["base", f"{texts}/work/teacher"]


@pytest.mark.parametrize("key", ["source.path", "model.path", "model.dtype", "base.tokens", "generations"])
def test_what_all_arms_share_cannot_be_swept(texts: Path, key: str) -> None:
    (texts / "recipes/demo.toml").write_text(f'{NAME}[sweep]\n"{key}" = [1, 2]\n')
    with pytest.raises(RecipeError, match=f"{key} is the same for all arms of a run"):
        load_recipe("../recipes/demo.toml")


def test_loading_needs_nothing_heavy() -> None:
    code = "import sys, autophage.recipe; print(sorted({'torch', 'ray', 'vllm', 'transformers'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
