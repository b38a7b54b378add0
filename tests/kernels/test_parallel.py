"""`vocabulary_parallel_token_stats` in two and three real processes, against `token_stats` of the whole vocabulary."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.kernels.adversarial import stacked

WORKER = Path(__file__).with_name("shards.py")
V = 265
SHARDS = {
    2: {"two halves": [(0, 133), (133, V)], "reversed ranks": [(133, V), (0, 133)], "uneven": [(0, 7), (7, V)]},
    3: {"out of order": [(200, V), (0, 1), (1, 200)], "even": [(0, 88), (88, 176), (176, V)]},
}


def cases(every: int) -> dict[str, dict[str, Any]]:
    """Logits (one in `every` of the adversarial rows), target and options."""
    generator = torch.Generator().manual_seed(0)
    logits, target = stacked(V, torch.float32, block=64)
    keep = (logits.nan_to_num(neginf=0.0).abs() < 1000).all(1)  # at 1e4, one bit of lse is more than is allowed here
    logits, target = logits[keep][::every], target[keep][::every].clone()
    target[::9], target[1::9] = -100, V
    three = (4 * torch.randn(2, 3, V, generator=generator)).bfloat16()
    three_targets = torch.randint(V, (2, 3), generator=generator)
    options = {
        "softcap": 20.0,
        "temperature": torch.linspace(0.5, 2, 6).view(2, 3),
        "ignore_index": int(three_targets[0, 0]),
    }
    broken = torch.randn(4, V, generator=generator)
    broken[0], broken[1, 3], broken[2, 240], broken[3, :200] = -math.inf, math.nan, math.inf, -math.inf
    one = {"statistics": ["entropy"], "temperature": 0.7}
    return {
        "every row": {"logits": logits, "target": target, "options": {}},
        "three dimensions, transformed": {"logits": three.float(), "target": three_targets, "options": options},
        "broken rows": {"logits": broken, "target": torch.tensor([0, 3, 100, 240]), "options": {}},
        "one statistic, no target": {"logits": logits[:9], "target": None, "options": one},
    }


@pytest.mark.parametrize("interpreted", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["torch", "triton"])
@pytest.mark.parametrize("world", SHARDS)
def test_equals_one_process(world: int, interpreted: bool, tmp_path: Path) -> None:
    path, meeting = tmp_path / "cases.pt", tmp_path / "meeting"
    named = [
        {"name": f"{name}, {partition}", "shards": shards, **case}
        for partition, shards in list(SHARDS[world].items())[-1 if interpreted else 0 :]
        for name, case in cases(every=7 if interpreted else 1).items()
    ]
    torch.save(named, path)
    environment = os.environ | {"TRITON_INTERPRET": "1" if interpreted else "0"}
    processes = [
        subprocess.Popen(
            [sys.executable, str(WORKER), str(rank), str(world), str(meeting), str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )
        for rank in range(world)
    ]
    outputs = [process.communicate(timeout=280)[0] for process in processes]
    for rank, process in enumerate(processes):
        assert process.returncode == 0, f"process {rank}:\n{outputs[rank]}"
