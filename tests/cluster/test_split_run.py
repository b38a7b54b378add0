"""A run with a trainer or sampler on two CPU ranks gives the results of a run on one, and leaves no process."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ARMS = ("alpha-1.0", "alpha-0.5", "control")
MARK = "AUTOPHAGE_TEST_SPLIT_RUN"
TOLERANCE = 1e-3
"""Largest difference of an adapter, relative to how far training moved it. Sums in another order make 1e-6 of a step, and
AdamW divides by gradients that may be as small. Another order of documents moves an adapter by more than 1e-2."""


@pytest.mark.long
@pytest.mark.parametrize("split", ["trainer", "sampler"])
def test_a_split_run_makes_what_a_plain_one_makes(
    split: str, smoke_run: Path, variables: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / split
    command = [sys.executable, "-m", "autophage", "run", "smoke", "--set", f"cluster.{split}_gpus=2"]
    done = subprocess.run(
        [*command, "--set", "generations=1", "--out", str(out)],
        env={**variables, MARK: str(out)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-2000:]
    gone(out)
    assert (out / "logs" / "trainer-1.log").exists() == (split == "trainer")
    for arm in ARMS:
        assert written(out, arm, 0) == written(smoke_run, arm, 0)
        start, plain, found = adapter(smoke_run, arm, 0), adapter(smoke_run, arm, 1), adapter(out, arm, 1)
        assert torch.equal(adapter(out, arm, 0), start)
        assert (plain - start).norm() > 0
        assert (found - plain).norm() / (plain - start).norm() < TOLERANCE


def written(run: Path, arm: str, generation: int) -> list[list[int]]:
    (corpus,) = (run / "arms" / arm / f"gen-{generation:03d}").glob("corpus-*.parquet")
    token_ids: list[list[int]] = pq.read_table(corpus).column("token_ids").to_pylist()
    return token_ids


def adapter(run: Path, arm: str, generation: int) -> torch.Tensor:
    file = run / "arms" / arm / f"gen-{generation:03d}" / "adapter" / "adapter_model.safetensors"
    return torch.cat([tensor.double().flatten() for _, tensor in sorted(safetensors.torch.load_file(file).items())])


def gone(out: Path, seconds: float = 30.0) -> None:
    """Wait until no process of the run is left. All have inherited its mark."""
    deadline = time.monotonic() + seconds
    while (left := marked(out)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert left == []


def marked(out: Path) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={out}".encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found
