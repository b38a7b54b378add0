"""Credentials are recognised. Recipes with one are refused, and messages are printed without them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from autophage.cli import main
from autophage.errors import RecipeError
from autophage.host.credentials import credential_in, without_credentials
from autophage.recipe import load_recipe
from autophage.recipe.paths import shipped_recipes
from autophage.store.rundir import EventLog

HUGGING_FACE = "hf_" + "a1B2" * 9
OTHERS = (
    "ghp_" + "x" * 36,
    "github_pat_" + "x" * 40,
    "sk-" + "x" * 48,
    "AKIA" + "ABCDEFGH12345678",
    "https://me:hunter2@example.org/texts",
)


@pytest.mark.parametrize("secret", [HUGGING_FACE, *OTHERS])
def test_a_form_is_recognised_and_crossed_out(secret: str) -> None:
    assert credential_in(f"before {secret} after") is not None
    assert secret not in without_credentials(f"before {secret} after")
    assert without_credentials(f"before {secret} after").startswith("before [")


def test_a_secret_of_the_environment_is_known_by_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SERVICE_API_KEY", "correct horse")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "certainly not")
    monkeypatch.setenv("OTHER_TOKEN", "short")
    assert credential_in("x correct horse y") == "the value of MY_SERVICE_API_KEY"
    assert without_credentials("x correct horse y") == "x [MY_SERVICE_API_KEY] y"
    assert credential_in("certainly not short") is None


@pytest.mark.parametrize(
    "text", ["google/gemma-3-1b-it", "/data/hf_models/task-one", "http://host:80/a@b", "s3://bucket/key", "a" * 64]
)
def test_plain_names_are_none(text: str) -> None:
    assert credential_in(text) is None
    assert without_credentials(text) == text


def test_no_shipped_recipe_looks_like_one() -> None:
    for name in shipped_recipes():
        load_recipe(name, ["source.path=texts"] if name == "text" else [])


@pytest.mark.parametrize(
    "setting",
    [f"model.path={HUGGING_FACE}", "source.path=https://me:hunter2@example.org/texts", f"description={HUGGING_FACE}"],
)
def test_a_recipe_with_one_is_refused_and_does_not_repeat_it(
    setting: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RecipeError, match="contains"):
        load_recipe("smoke", [setting])
    assert main(["run", "smoke", "--set", setting, "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert "HF_TOKEN" in error
    assert HUGGING_FACE not in error
    assert "hunter2" not in error
    assert not (tmp_path / "run").exists()


def test_a_recipe_file_with_one_is_refused_where_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f'name = "x"\n[sweep]\n"sample.system" = ["a", "{HUGGING_FACE}"]\n', "utf-8")
    with pytest.raises(RecipeError, match=r"mine\.toml:3:.*sample\.system contains a Hugging Face token"):
        load_recipe(str(path))


def test_history_does_not_keep_one(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    log.append({"kind": "failed", "error": f'401 for "{HUGGING_FACE}"', "seconds": 1.0})
    [line] = log.path.read_text("utf-8").splitlines()
    assert json.loads(line) == {"kind": "failed", "error": '401 for "[a Hugging Face token]"', "seconds": 1.0}
