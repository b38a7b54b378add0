"""A sampler with swapped whole weights writes what the trainer's model writes, and can return to the base."""

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
import dataclasses, shutil, sys, tempfile
from pathlib import Path
import numpy as np, safetensors.torch, torch
from transformers import AutoModelForCausalLM
from autophage.data.build import read_source
from autophage.errors import RunError, SwapError
from autophage.progress import Meter
from autophage.stages.facts import model_path
from autophage.recipe import load_recipe
from autophage.sampler import engine, reload
from autophage.sampler.engine import Sampler
from autophage.sampler.protocol import Decoding, Job, Request
from autophage.stages.workbench import Workbench
from autophage.store.weights import Weights

tied = sys.argv[1] == "tied"
loaded = load_recipe("smoke", ["sweep.model.method=['lora', 'full']"])
arms = {arm.recipe.model.method: arm for arm in loaded.arms if not arm.control}
source = read_source(loaded.recipe)
path = model_path(loaded.recipe, source, Meter())
if not tied:
    whole = AutoModelForCausalLM.from_pretrained(path)
    whole.config.tie_word_embeddings = False
    torch.manual_seed(9)
    whole.lm_head.weight = torch.nn.Parameter(whole.lm_head.weight + 0.1 * torch.randn_like(whole.lm_head.weight))
    out = tempfile.mkdtemp()
    whole.save_pretrained(out)
    for file in Path(path).glob("tokenizer*"):
        shutil.copy(file, out)
    path = out
bench = Workbench(loaded.recipe, source, path)
settings = bench.engine_settings(loaded.arms)
# With a prefix cache, which a GPU has, and prompts long enough to be found in it.
own_arguments = engine.engine_arguments
engine.engine_arguments = lambda settings: own_arguments(settings) | {"enable_prefix_caching": True}
sampler = Sampler(dataclasses.replace(settings, longest=200))
base, zero = bench.base_weights(arms["full"]), bench.base_weights(arms["lora"])
(long_prompt := [token for document in bench.source.held_out() for token in document.token_ids])[150:] = []
prompts = [*bench.canary_prompts, long_prompt]
assert len(long_prompt) == 150


def moved(seed):
    """Whole weights some way from the base model's: every one of them, norms and embeddings too."""
    torch.manual_seed(seed)
    tensors = {
        name: tensor + 0.3 * tensor.std().clamp(min=0.1) * torch.randn_like(tensor)
        for name, tensor in sorted(bench.resident.tensors(base).items())
    }
    return Weights(safetensors.torch.save(tensors), base.config, "full")


def adapter(seed):
    torch.manual_seed(seed)
    tensors = safetensors.torch.load(zero.tensors)
    for name, tensor in sorted(tensors.items()):
        if "lora_B" in name:
            tensors[name] = torch.randn_like(tensor) * 0.2
    return Weights(safetensors.torch.save(tensors), zero.config)


def written(served, temperature=0.0):
    decoding = Decoding(24, temperature, 1.0, 0, ())
    return sampler.sample([Job(served, [Request(prompt, 7) for prompt in prompts], decoding)], lambda *_: None)[0]


def agree(weights, served, what):
    """Token for token with the trainer's model, which transformers generates from without a cache of vLLM's."""
    bench.resident.load(weights)
    answers = written(served)
    for prompt, answer in zip(prompts, answers, strict=True):
        with torch.no_grad():
            ids = bench.resident.model.generate(
                torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt)), max_new_tokens=24,
                do_sample=False, eos_token_id=None, pad_token_id=0,
            )
        assert ids[0, len(prompt):].tolist() == answer.token_ids, what
    scored = bench.resident.score([p + a.token_ids for p, a in zip(prompts, answers)], list(map(len, prompts)))
    for own, answer in zip(scored, answers, strict=True):
        np.testing.assert_allclose(answer.statistics.logprob, own.logprob, atol=1e-4, err_msg=what)
    assert bench.check_canary(weights, sampler.canary(served, bench.canary_prompts)).nats < 1e-4
    return [answer.token_ids for answer in answers]


lora = adapter(1)
served_lora = sampler.install("lora@1", lora)
first = written(served_lora, temperature=1.0)
model_0 = agree(base, sampler.install("full@0", base), "model 0 of the arm that trains all weights")
adapted = agree(lora, served_lora, "the adapter")
pushed = {seed: (moved(seed), sampler.install(f"full@{seed}", moved(seed))) for seed in (1, 2, 3)}
found = {seed: agree(*pushed[seed], f"push {seed}") for seed in (1, 2, 3)}
assert len({str(one) for one in (model_0, adapted, *found.values())}) == 5
assert agree(lora, served_lora, "the adapter, after whole weights") == adapted
assert [one.token_ids for one in written(served_lora, 1.0)] == [one.token_ids for one in first]
late = adapter(2)
assert agree(*pushed[2], "push 2 again") == found[2]
agree(late, sampler.install("lora@2", late), "an adapter that came while other weights were in")
assert agree(base, sampler.install("full@0", base), "model 0 again") == model_0
assert all(served.adapter_id == 0 for _, served in pushed.values())


def refused(kind, call, what):
    try:
        call()
    except kind as error:
        assert what in str(error), error
    else:
        sys.exit(f"passed in silence: {what}")


def changed(**tensors):
    named = {**safetensors.torch.load(pushed[1][0].tensors), **tensors}
    return Weights(safetensors.torch.save({k: v for k, v in named.items() if v is not None}), base.config, "full")


good = pushed[1][0]
refused(SwapError, lambda: sampler.install("cut", Weights(good.tensors[:-9], good.config, "full")), "cut-")
norm = "model.norm.weight"
for broken, what in (
    (changed(**{norm: None}), f"no weights came for {norm}"),
    (changed(**{norm: torch.zeros(3)}), "torch.Size([3])"),
    (changed(**{"model.other.weight": torch.zeros(3)}), "other"),
):
    served = sampler.install("broken@1", broken)
    refused(SwapError, lambda: sampler.canary(served, bench.canary_prompts), what)
    sampler.remove(served)
    agree(*pushed[3], "weights after those that were refused")
    refused(SwapError, lambda: written(served), "not in the sampler")

# The canary sees a head that kept its old weights, and a prefix cache that kept what others computed would be seen above.
whole_pack, reload._pack_tied = reload._pack_tied, lambda model: None
if tied:
    weights, served = pushed[1]
    stale = lambda: bench.check_canary(weights, sampler.canary(served, bench.canary_prompts))
    refused(SwapError, stale, "does not serve the weights")
reload._pack_tied = whole_pack
agree(*pushed[2], "after a stale head")

from vllm import SamplingParams

sampler._engine.add_request("running", {"prompt_token_ids": prompts[0]}, SamplingParams(max_tokens=2, detokenize=False))
refused(RunError, lambda: sampler._bases.switch(None), "while requests are running")
print("base swap holds")
'''


@pytest.mark.parametrize("head", ["tied", pytest.param("untied", marks=pytest.mark.long)])
def test_whole_weights(variables: dict[str, str], tmp_path: Path, head: str) -> None:
    script = tmp_path / "base_swap.py"
    script.write_text(SCRIPT, encoding="utf-8")
    command = [sys.executable, str(script), head]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert "base swap holds" in done.stdout, done.stdout[-1000:] + done.stderr[-3000:]
