"""The LM head of a served 16-bit model: its logits are float32, with an adapter and with tied embeddings."""

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
import numpy as np, torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM
from autophage.sampler.engine import Sampler
from autophage.sampler.protocol import EngineSettings
from autophage.trainer.variants import lora_variant
from autophage.trainer.head import find_head

path, tied = sys.argv[1], sys.argv[2] == "tied"
SCALE = 24  # of the logits, at which 16 bits lie 0.125 apart
torch.manual_seed(0)
config = LlamaConfig(
    vocab_size=512, hidden_size=128, intermediate_size=128, num_hidden_layers=1, num_attention_heads=2,
    num_key_value_heads=2, max_position_embeddings=64, tie_word_embeddings=tied, initializer_range=0.2,
)
model = LlamaForCausalLM(config).to(torch.bfloat16)
with torch.no_grad():
    model.model.norm.weight.mul_(SCALE / 4)
model.save_pretrained(path)
adapted = get_peft_model(model, LoraConfig(r=8, target_modules="all-linear"))
with torch.no_grad():
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            parameter.normal_(0, 0.05)
weights = lora_variant(adapted, "default", find_head(adapted)).take()

sampler = Sampler(EngineSettings(
    path, 1, 8, tuple(weights.config["target_modules"]), longest=32, concurrency=8, mixed=1, adapters=4,
    dtype="bfloat16", device="cpu", memory=None, kv_bytes_per_token=1024, shares_device=False,
))
served = sampler.install("test@0", weights)
core = sampler._engine.engine_core.engine_core
loaded = core.model_executor.driver_worker.worker.model_runner.model
hidden = torch.randn(16, 128).to(torch.bfloat16) * (SCALE / 8)
logits = loaded.compute_logits(hidden)
exact = hidden.double() @ model.get_output_embeddings().weight.double().T
assert exact.abs().max() > 16
assert logits.dtype == torch.float32, logits.dtype
worst = float((logits.double() - exact).abs().max())
assert worst < 1e-3, f"logits are rounded by {worst}"
rounded = float((exact.to(torch.bfloat16).double() - exact).abs().max())
assert rounded > 0.05, rounded

# What is sampled and recorded is what these logits say, under the adapter.
found = sampler.canary(served, [[1, 2, 3, 4], [5, 6, 7]])
plain = sampler.canary(type(served)("", 0, "", None), [[1, 2, 3, 4], [5, 6, 7]])
assert [one.token_ids for one in found] != [one.token_ids for one in plain]
for one in found:
    np.testing.assert_allclose(one.statistics.logprob, one.logprobs, atol=1e-4)
print("head holds")
'''


@pytest.mark.parametrize("embeddings", ["tied", pytest.param("own", marks=pytest.mark.long)])
def test_logits_are_not_rounded(embeddings: str, variables: dict[str, str], tmp_path: Path) -> None:
    script = tmp_path / "head.py"
    script.write_text(SCRIPT, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "model"), embeddings],
        env=variables, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "head holds" in done.stdout, done.stdout[-1000:] + done.stderr[-3000:]
