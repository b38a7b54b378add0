"""A model on two CPU ranks has the tokens, swaps, statistics and canary of one rank, and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import LlamaConfig

from autophage.errors import UserError
from autophage.sampler import ranks
from autophage.sampler.protocol import EngineSettings

SHARED_MEMORY = Path("/dev/shm")

SETTINGS = EngineSettings(
    model_path="",
    seed=1,
    rank=8,
    target_modules=("q_proj",),
    longest=64,
    concurrency=8,
    mixed=1,
    adapters=2,
    dtype="float32",
    device="cpu",
    memory=None,
    kv_bytes_per_token=64,
    shares_device=True,
    tensor_parallel=3,
)

BEGIN = '''
"""In a process of its own: vLLM changes global state of the process it runs in."""
from autophage.host import environment
environment.apply()
import os, pathlib, sys
from dataclasses import replace
import numpy as np, safetensors.torch, torch
from autophage.data.build import read_source
from autophage.errors import SwapError
from autophage.progress import Meter
from autophage.stages.facts import model_path
from autophage.recipe import load_recipe
from autophage.sampler.engine import Sampler
from autophage.sampler.protocol import Decoding, Job, Request
from autophage.stages.workbench import Workbench
from autophage.store.weights import Weights


def begin(tensor_parallel):
    loaded = load_recipe("smoke")
    source = read_source(loaded.recipe)
    bench = Workbench(loaded.recipe, source, model_path(loaded.recipe, source, Meter()))
    settings = bench.engine_settings(loaded.arms)
    return bench, Sampler(replace(settings, tensor_parallel=tensor_parallel)), settings


def workers():
    found = []
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            fields = (process / "stat").read_text().rpartition(")")[2].split()
            found += [process.name] * (fields[1] == str(os.getpid()))
        except OSError:
            pass
    return found

'''

SAME = (
    BEGIN
    + '''
def adapter(bench, seed):
    zero = bench.resident.base_weights()
    torch.manual_seed(seed)
    tensors = safetensors.torch.load(zero.tensors)
    for name, tensor in sorted(tensors.items()):  # safetensors gives them in any order
        if "lora_B" in name:
            tensors[name] = torch.randn_like(tensor) * 0.05
    return Weights(safetensors.torch.save(tensors), zero.config)


def observed(bench, sampler):
    """What a sampler makes of two adapters, one installed after the other was removed."""
    found = []
    prompts = [prompt[:n] for prompt in bench.canary_prompts for n in (1, len(prompt))]
    for seed in (1, 2):
        weights = adapter(bench, seed)
        served = sampler.install(f"test@{seed}", weights)
        assert bench.check_canary(weights, sampler.canary(served, bench.canary_prompts)).nats < 1e-5
        try:
            bench.check_canary(adapter(bench, seed + 1), sampler.canary(served, bench.canary_prompts))
        except SwapError:
            pass
        else:
            sys.exit("a wrong adapter passed the canary")
        for temperature in (0.0, 1.0):
            decoding = Decoding(24, temperature, 1.0, 0, (2,))
            requests = [Request(prompt, index) for index, prompt in enumerate(prompts)]
            found += sampler.sample([Job(served, requests, decoding)], lambda *_: None)[0]
        sampler.remove(served)
        try:
            sampler.sample([Job(served, requests, decoding)], lambda *_: None)
        except SwapError as error:
            assert "is not in the sampler" in str(error)
        else:
            sys.exit("a request for a removed adapter was taken")
    return found


if __name__ == "__main__":  # workers import this file
    bench, split, settings = begin(2)
    assert len(workers()) >= 2
    whole = Sampler(settings)
    for two, one in zip(observed(bench, split), observed(bench, whole), strict=True):
        assert two.token_ids == one.token_ids
        assert two.finish_reason == one.finish_reason
        for name in ("logprob", "entropy", "varentropy", "max_prob"):
            np.testing.assert_allclose(getattr(two.statistics, name), getattr(one.statistics, name), atol=1e-4)
        np.testing.assert_array_equal(two.statistics.rank, one.statistics.rank)
    print("workers", *workers())
    print("two ranks are one model")
'''
)

KILLED = (
    BEGIN
    + """
if __name__ == "__main__":
    begin(2)
    print("workers", *workers(), flush=True)
    os.kill(os.getpid(), 9)
"""
)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("script", "code"),
    [pytest.param(SAME, 0, id="ends by itself"), pytest.param(KILLED, -9, id="is killed", marks=pytest.mark.long)],
)
def test_two_ranks(script: str, code: int, variables: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    path.write_text(script, encoding="utf-8")
    before = set(SHARED_MEMORY.iterdir())
    variables = {**variables, "TMPDIR": str(tmp_path)}
    with (tmp_path / "log").open("w") as log:
        done = subprocess.run(
            [sys.executable, str(path)], env=variables, stdout=subprocess.PIPE, stderr=log, text=True, check=False
        )
    said = (tmp_path / "log").read_text()[-3000:]
    assert done.returncode == code, done.stdout[-1000:] + said
    assert code or "two ranks are one model" in done.stdout
    workers = next(line for line in done.stdout.splitlines() if line.startswith("workers")).split()[1:]
    assert len(workers) >= 2
    gone(lambda: [pid for pid in workers if is_alive(pid)])
    gone(lambda: [path.name for path in set(SHARED_MEMORY.iterdir()) - before if mine(path)])


def is_alive(pid: str) -> bool:
    try:
        return Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def mine(path: Path) -> bool:
    """True if a name in shared memory is ours. Other processes of the machine have theirs."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(path) in (process / "maps").read_text():
                return False
        except OSError:
            continue
    return path.exists()


def gone(left: Callable[[], list[str]], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while (found := left()) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert not found


@pytest.fixture
def model(tmp_path: Path) -> EngineSettings:
    LlamaConfig(num_attention_heads=12, num_key_value_heads=4, intermediate_size=96, hidden_size=96).save_pretrained(
        tmp_path
    )
    return replace(SETTINGS, model_path=str(tmp_path))


@pytest.mark.parametrize(
    ("split", "what"),
    [(3, "4 key-value heads"), (5, "12 attention heads and 96 inner units and 4 key-value heads"), (9, "12 attention")],
)
def test_what_does_not_split_is_refused(model: EngineSettings, split: int, what: str) -> None:
    with pytest.raises(UserError, match=rf"tensor_parallel = {split}: .* has {what}.*split into 1, 2, 4, 12\."):
        ranks.prepare(replace(model, tensor_parallel=split))


def test_too_few_gpus_are_said(model: EngineSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UserError, match=r"tensor_parallel = 4 takes 4 GPUs of one machine, and the sampler sees 1"):
        ranks.prepare(replace(model, tensor_parallel=4, device="cuda"))


def test_ranks_share_the_cores(model: EngineSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    ranks.prepare(replace(model, tensor_parallel=1))
    assert os.environ["OMP_NUM_THREADS"] == "64"
    ranks.prepare(replace(model, tensor_parallel=4))
    assert os.environ["OMP_NUM_THREADS"] == "2"
