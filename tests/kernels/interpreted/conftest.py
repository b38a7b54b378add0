"""Small blocks, so that short rows have many of them: an interpreted kernel costs some 30 ms for each turn of its loop."""

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
