from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from autophage.errors import RecipeError
from autophage.recipe import LoadedRecipe, load_recipe


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., LoadedRecipe]:
    """Write demo.toml into an empty working directory and load it with overrides."""
    monkeypatch.chdir(tmp_path)

    def write_and_load(text: str | bytes, *overrides: str) -> LoadedRecipe:
        content = text if isinstance(text, bytes) else text.encode()
        Path("demo.toml").write_bytes(content)
        return load_recipe("demo.toml", overrides)

    return write_and_load


@pytest.fixture
def refuse(load: Callable[..., LoadedRecipe]) -> Callable[..., str]:
    """As `load`, for what must be refused: the message."""

    def message(text: str | bytes, *overrides: str) -> str:
        with pytest.raises(RecipeError) as caught:
            load(text, *overrides)
        assert caught.value.exit_code == 2
        return str(caught.value)

    return message
