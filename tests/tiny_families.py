"""Tiny models of every family, made by `scripts/tiny_models.py`."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "tiny_models.py"


@pytest.fixture(scope="session")
def tiny_models() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tiny_models", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["tiny_models"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def tiny_model(tiny_models: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`tiny_model("gpt2", heads=4)`: a model folder of a family, with properties of a `Variant`."""

    def make(family: str, **properties: object) -> Path:
        folder: Path = tiny_models.make(tmp_path_factory.mktemp(family), family, tiny_models.Variant(**properties))
        return folder

    return make
