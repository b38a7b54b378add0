"""Small blocks give short rows many blocks. One turn of an interpreted loop costs some 30 ms."""

from __future__ import annotations

import pytest
import torch
from tests.kernels.interpreted.blocks import use_blocks

from autophage_kernels import backend_in_use

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert backend_in_use() == "interpreter"
    use_blocks(monkeypatch, 256)
