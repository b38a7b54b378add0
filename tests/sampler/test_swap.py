"""The sampler serves the trainer's model and records the tokens that it samples. Anything else raises."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SCRIPT = '''
"""In a process of its own: vLLM changes global state of the process it runs in."""
from autophage.host import environment
environment.apply()
import sys
import numpy as np, safetensors.torch, torch
from autophage.data.build import read_source
from autophage.errors import RunError, SwapError
from autophage.progress import Meter
from autophage.stages.facts import model_path
from autophage.recipe import load_recipe
from autophage.sampler.engine import Sampler
from autophage.sampler import recorder
from autophage.sampler.protocol import Decoding, Job, Request
from autophage.stages.workbench import Workbench
from autophage.store.weights import Weights

loaded = load_recipe("smoke")
source = read_source(loaded.recipe)
bench = Workbench(loaded.recipe, source, model_path(loaded.recipe, source, Meter()))
sampler = Sampler(bench.engine_settings(loaded.arms))
zero = bench.base_weights(loaded.arms[0])


def random_adapter(seed, scale=0.05, only=""):
    torch.manual_seed(seed)
    tensors = safetensors.torch.load(zero.tensors)
    for name, tensor in sorted(tensors.items()):  # safetensors gives them in any order
        if "lora_B" in name and only in name:
            tensors[name] = torch.randn_like(tensor) * scale
    return Weights(safetensors.torch.save(tensors), zero.config)


def difference(trained, served_adapter):
    served = sampler.install("test@0", served_adapter)
    try:
        return bench.check_canary(trained, sampler.canary(served, bench.canary_prompts)).nats
    finally:
        sampler.remove(served)


def caught(trained, served_adapter, what):
    try:
        found = difference(trained, served_adapter)
    except SwapError:
        return
    sys.exit(f"{what} was not caught: {found}")


# Every kind of layer takes part, and agrees with PEFT to rounding.
for layer in ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", ""):
    found = difference(random_adapter(1, only=layer), random_adapter(1, only=layer))
    assert found < 1e-5, (layer, found)

good = random_adapter(1)
caught(good, zero, "the adapter of generation 0")
caught(good, random_adapter(2), "another arm's adapter")
tensors = safetensors.torch.load(good.tensors)
without = {name: tensor for name, tensor in tensors.items() if "v_proj" not in name}
caught(good, Weights(safetensors.torch.save(without), zero.config), "a missing module")
caught(good, Weights(good.tensors, {**zero.config, "lora_alpha": 2 * zero.config["lora_alpha"]}), "a wrong scale")

def on_its_way(tensors):
    """The good adapter as the trainer sent it, with what became of its tensors on the way."""
    spoilt = Weights(tensors, zero.config)
    spoilt.__dict__["digest"] = good.digest
    return spoilt


cut, flipped = good.tensors[:-9], good.tensors[:-1] + bytes([good.tensors[-1] ^ 1])
for broken, what in (
    (Weights(good.tensors[: len(good.tensors) // 2], zero.config), "half a file"),
    (on_its_way(cut), "an adapter cut short on its way"),
    (on_its_way(flipped), "an adapter of which a bit was flipped on its way"),
    (Weights(good.tensors, {**zero.config, "use_dora": True}), "an adapter that vLLM cannot serve"),
):
    try:
        sampler.install("test@1", broken)
    except SwapError as error:
        assert "test@1" in str(error)
        assert ("is not the one that was sent" in str(error)) == ("on its way" in what), error
    else:
        sys.exit(f"{what} was installed")
    assert sampler._call("autophage_adapters") == [], what

# What a request draws depends on its own seed, not on what else is in the batch; and swaps leave nothing behind.
decoding = Decoding(24, 1.0, 1.0, 0, (2,))
prompt = bench.canary_prompts[0][:1]


def sample(adapter, seeds):
    served = sampler.install("test@2", adapter)
    [found] = sampler.sample([Job(served, [Request(prompt, seed) for seed in seeds], decoding)], lambda *_: None)
    sampler.remove(served)
    return [one.token_ids for one in found]


first = sample(good, range(40))
assert sample(good, range(40)) == first
assert sample(random_adapter(2), range(40)) != first
for seed in range(30):
    sample(random_adapter(seed), [seed])
assert sample(good, range(40)) == first
assert len({tuple(one) for one in first}) > 30

greedy = Decoding(24, 0.0, 0.5, 3, (2,))
served = sampler.install("test@3", good)
[answers] = sampler.sample([Job(served, [Request(prompt, seed) for seed in (1, 2)], greedy)], lambda *_: None)
assert answers[0].token_ids == answers[1].token_ids
sampler.remove(served)
try:
    sampler.sample([Job(served, [Request(prompt, 1)], decoding)], lambda *_: None)
except SwapError as error:
    assert "is not in the sampler" in str(error)
else:
    sys.exit("a request for a removed adapter was taken")

# Statistics: the same tokens without them, the same values from a teacher-forced pass, and no silence when they fail.
served = sampler.install("test@4", good)
orders = [Request(prompt, seed) for seed in range(40)]
job = Job(served, orders, decoding)
[observed] = sampler.sample([job], lambda *_: None)
[plain] = sampler.sample([job], lambda *_: None, observe=False)
assert [one.token_ids for one in observed] == [one.token_ids for one in plain]
assert {one.statistics for one in plain} == {None}
bench.resident.load(good)
scored = bench.resident.score([prompt + one.token_ids for one in observed], [len(prompt)] * len(observed))
for own, one in zip(scored, observed, strict=True):
    for name in ("logprob", "entropy", "varentropy", "max_prob"):
        np.testing.assert_allclose(getattr(one.statistics, name), getattr(own, name), atol=1e-4)


def refused(call, broken, what):
    whole, recorder._statistics = recorder._statistics, broken
    try:
        call()
    except RunError as error:
        assert what in str(error), error
    else:
        sys.exit(f"passed in silence: {what}")
    finally:
        recorder._statistics = whole


def no_memory(logits, tokens):
    raise MemoryError("none left")


def shifted(logits, tokens):
    return whole_statistics(logits, tokens.roll(1))


def not_a_number(logits, tokens):
    return whole_statistics(logits * float("nan"), tokens)


whole_statistics = recorder._statistics
ask = lambda: sampler.sample([job], lambda *_: None)[0]
refused(ask, no_memory, "MemoryError: none left (")
refused(ask, not_a_number, "is not finite")
refused(lambda: sampler.canary(served, bench.canary_prompts), shifted, "differ from vLLM's own")
assert [one.token_ids for one in ask()] == [one.token_ids for one in plain]
sampler.remove(served)
print("swap holds")
'''


def test_swaps(variables: dict[str, str], tmp_path: Path) -> None:
    script = tmp_path / "swap.py"
    script.write_text(SCRIPT, encoding="utf-8")
    done = subprocess.run([sys.executable, str(script)], env=variables, capture_output=True, text=True, check=False)
    assert "swap holds" in done.stdout, done.stdout[-1000:] + done.stderr[-3000:]
