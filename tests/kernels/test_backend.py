"""Who serves, and that a replacement is never silent."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch

from autophage_kernels import backend, backend_in_use, token_stats


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    backend._choose.cache_clear()
    backend._why_triton_is_missing.cache_clear()
    yield
    backend._choose.cache_clear()
    backend._why_triton_is_missing.cache_clear()


def test_torch_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(backend.OVERRIDE, raising=False)
    assert backend_in_use("cpu") == "torch"
    assert backend_in_use(torch.device("cpu"), torch.bfloat16) == "torch"


def test_triton_on_a_gpu_but_not_in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(backend.OVERRIDE, raising=False)
    assert backend_in_use("cuda") == "triton"
    assert backend_in_use("cuda", torch.float64) == "torch"
    monkeypatch.setenv(backend.OVERRIDE, "torch")
    assert backend_in_use("cuda") == "torch"


def test_an_order_that_cannot_be_followed_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(backend.OVERRIDE, "triton")
    with pytest.raises(RuntimeError, match="TRITON_INTERPRET"):
        token_stats(torch.zeros(1, 2))
    monkeypatch.setenv(backend.OVERRIDE, "cuda")
    with pytest.raises(ValueError, match="'cuda'"):
        backend_in_use("cpu")
    monkeypatch.setenv(backend.OVERRIDE, "triton")
    monkeypatch.setattr(backend, "_why_triton_is_missing", lambda: "No module named 'triton'")
    with pytest.raises(RuntimeError, match="No module named 'triton'"):
        backend_in_use("cuda")


def test_missing_triton_is_said_once(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.delenv(backend.OVERRIDE, raising=False)
    monkeypatch.setattr(backend, "_why_triton_is_missing", lambda: "No module named 'triton'")
    with caplog.at_level("WARNING", "autophage_kernels"):
        assert [backend_in_use("cuda") for _ in range(3)] == ["torch"] * 3
    assert len(caplog.records) == 1
    assert "No module named 'triton'" in caplog.text


WITHOUT_TRITON = """
import sys
sys.modules["triton"] = None  # import triton raises ImportError
import torch, autophage_kernels
for _ in range(3):
    found = autophage_kernels.token_stats(torch.zeros(1, 4))
print(found.entropy.item(), autophage_kernels.backend_in_use("cpu"))
"""


@pytest.mark.thorough
def test_the_package_works_without_triton_and_says_so() -> None:
    """Run where the kernels should serve and Triton cannot be imported."""
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT_TRITON], capture_output=True, text=True, env=environment, check=True
    )
    assert ran.stdout.split() == ["1.3862943649291992", "torch"]
    assert ran.stderr.count("Triton cannot be used") == 1


def test_both_backends_offer_the_same_operations() -> None:
    from autophage_kernels import reference, triton_kernels

    assert reference.__all__ == triton_kernels.__all__
