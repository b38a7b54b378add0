"""Exports pushed to a hub on loopback by the hub's own client."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.made_runs import RunMaker
from tests.runs.local_hub import Hub, local_hub

from autophage.cli import main
from autophage.runs.export import export
from autophage.store.rundir import RunDirectory

TOKEN = "hf_" + "t0kEN" * 7
Push = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def hub() -> Iterator[Hub]:
    with local_hub(TOKEN) as hub:
        yield hub


@pytest.fixture
def push(hub: Hub) -> Push:
    """`autophage export` in a process of its own: the client reads the hub's address when it is imported."""

    def run(
        run: RunDirectory, *words: str | Path, token: str = TOKEN, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "autophage", "export", run.root, "--arm", "main", "--generation", "1", *words]
        own = {
            "HF_ENDPOINT": hub.address,
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_TOKEN": token,
            **variables,
        }
        return subprocess.run(
            list(map(str, command)), env={**os.environ, **own}, capture_output=True, text=True, check=False
        )

    return run


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.thorough
@pytest.mark.parametrize(("what", "kind"), [("adapter", "models"), ("corpus", "datasets")])
def test_a_hub_receives_the_export_with_its_card(
    what: str, kind: str, hub: Hub, push: Push, make_run: RunMaker, tmp_path: Path
) -> None:
    run = make_run(main=2)
    done = push(run, "--what", what, "--push", "me/mine")
    assert done.returncode == 0, done.stderr
    place = f"{kind}/me/mine"
    assert done.stdout.strip() == f"{hub.address}/{'datasets/' if kind == 'datasets' else ''}me/mine"
    expected = contents(export(run, "main", 1, what, tmp_path / "out"))
    assert hub.files == {place: expected}
    assert "README.md" in expected
    assert hub.repositories[place] == {"private": True}
    assert hub.messages == [f"Upload {what} of an Autophage run"]
    assert TOKEN not in done.stdout + done.stderr
    assert not [path for path in run.root.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]


@pytest.mark.thorough
def test_a_public_repository_is_asked_for_and_out_is_written_too(
    hub: Hub, push: Push, make_run: RunMaker, tmp_path: Path
) -> None:
    done = push(make_run(main=2), "--push", "me/mine", "--public", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert hub.repositories["models/me/mine"] == {"private": False}
    assert hub.files["models/me/mine"] == contents(tmp_path / "out")


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("words", "variables", "message"),
    [
        (["--push", "me/mine"], {"token": "hf_" + "wrong" * 7}, "refused"),
        (["--push", "me/mine"], {"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set"),
        (["--push", "me/mine/theirs"], {}, "is no name of a repository"),
        (["--push", f"me/{TOKEN}"], {}, "contains a Hugging Face token"),
        ([], {}, "Give --out FOLDER, --push REPOSITORY or both"),
    ],
)
def test_what_cannot_be_pushed_is_one_message(
    words: list[str], variables: dict[str, str], message: str, hub: Hub, push: Push, make_run: RunMaker
) -> None:
    done = push(make_run(main=2), *words, **variables)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert TOKEN not in done.stderr
    assert hub.files == {}


def test_a_recipe_with_a_token_is_not_pushed(
    make_run: RunMaker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file was written by hand: a run refuses such a recipe before it starts."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    run = make_run(main=2)
    text = run.recipe.read_text("utf-8")
    run.recipe.write_text(text.replace("a run for tests", f"token {TOKEN}"), "utf-8")
    code = main(["export", str(run.root), "--arm", "main", "--generation", "1", "--push", "me/mine"])
    assert code == 2
    message = capsys.readouterr().err
    assert "recipe.toml: contains a Hugging Face token" in message
    assert TOKEN not in message
