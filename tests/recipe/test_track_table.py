"""`[track]`: its values, keys without effect, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from autophage.recipe import LoadedRecipe, read_resolved, resolved_toml

NAME = 'name = "demo"\n'
Load = Callable[..., LoadedRecipe]
Refuse = Callable[..., str]


def test_nothing_is_sent_by_default(load: Load) -> None:
    assert load(NAME).recipe.track.to == []


def test_trackers_are_read_and_written_back(load: Load) -> None:
    loaded = load(NAME + '[track]\nto = ["mlflow", "wandb"]\nmlflow_uri = "http://localhost:5000"\nfolder = "here"\n')
    assert loaded.warnings == []
    assert loaded.recipe.track.folder == str(Path("here").absolute())
    Path("recipe.toml").write_text(resolved_toml(loaded), "utf-8")
    assert read_resolved("recipe.toml") == loaded.recipe


def test_a_learner_in_closed_form_is_tracked_too(load: Load) -> None:
    assert load(NAME + '[learner]\nkind = "gaussian"\n[track]\nto = ["trackio"]\nproject = "mine"\n').warnings == []


@pytest.mark.parametrize(
    ("table", "warning"),
    [
        ('project = "mine"', "track.project has no effect: track.to names no tracker"),
        ('to = ["wandb"]\nmlflow_uri = "http://h"', "track.mlflow_uri has no effect: track.to does not name mlflow"),
        ('to = ["mlflow"]\nwandb_entity = "us"', "track.wandb_entity has no effect: track.to does not name wandb"),
        ('to = ["mlflow"]\ntrackio_space = "a/b"', "track.trackio_space has no effect: track.to does not name trackio"),
        ('to = ["mlflow"]\nfolder = "f"', "track.folder has no effect: mlflow uses track.mlflow_uri instead"),
    ],
)
def test_keys_without_effect_are_named(load: Load, table: str, warning: str) -> None:
    (found,) = load(f"{NAME}[track]\n{table}\n").warnings
    assert warning in found


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('[track]\nto = ["tensorbord"]', "tensorboard"),
        (
            '[track]\nto = "wandb"',
            'track.to must be a list of "wandb", "mlflow", "tensorboard" or "trackio", each once',
        ),
        ('[track]\nto = ["wandb", "wandb"]', "an entry occurs twice"),
        (
            '[track]\nto = ["mlflow"]\nmlflow_uri = "http://me:hunter2@h"',
            "track.mlflow_uri contains a URL with a password",
        ),
        ('[track]\nproject = "hf_' + "x" * 34 + '"', "track.project contains a Hugging Face token"),
        ('[sweep]\n"track.samples" = [1, 2]', "track.samples"),
    ],
)
def test_wrong_values_are_refused(refuse: Refuse, table: str, message: str) -> None:
    text = refuse(f"{NAME}{table}\n")
    assert message in text
    assert "hunter2" not in text
