"""A model of every family loads in the trainer, and scores text as transformers does; adapters fit where PEFT has them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import safetensors.torch
import torch

from autophage.data.model_folder import tensor_names
from autophage.data.tokens import load_tokenizer
from autophage.errors import UserError
from autophage.progress import Meter
from autophage.recipe.schema import Recipe
from autophage.recipe.tables.model import ModelTable
from autophage.trainer.head import find_head
from autophage.trainer.loading import load_model
from autophage.trainer.resident import ResidentModel
from autophage.trainer.scoring import score
from autophage.trainer.trainable import adapter_config, linear_layers, require_trainable, stored_parameters

Make = Callable[..., Path]
TEXT = "In the year 1066 the harbour of Kiel was rebuilt by 3 masons and 4 pilots.\n"
FAMILIES = (
    *(
        "llama",
        "qwen2",
        "qwen3",
        "mistral",
        "gemma2",
        "gemma3_text",
        "gemma3",
        "gpt2",
        "gpt_neox",
        "opt",
        "phi",
        "phi3",
    ),
    *("mixtral", "qwen3_moe", "mamba", "olmo2", "granite", "smollm3"),
)
WITHOUT_ADAPTERS = ("mamba",)
EXPERTS = ("mixtral", "qwen3_moe")
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "bfloat16": ("llama", {"dtype": "bfloat16"}),
    "shards": ("llama", {"shard": "100KB"}),
    "spare rows": ("llama", {"spare_rows": 12}),
    "tied": ("llama", {"tied": True}),
    "no start": ("llama", {"start": False}),
    "no padding": ("llama", {"pad": None}),
    "a window": ("mistral", {"settings": {"sliding_window": 16}}),
    "an LM head of its own": ("gpt2", {"tied": False}),
}

pytestmark = pytest.mark.thorough


def compare(folder: Path) -> None:
    """Compare the trainer's log-probs of two texts of different lengths with those of each text alone."""
    from transformers import AutoModelForCausalLM

    model, tokenizer = load_model(str(folder), torch.float32), load_tokenizer(str(folder))
    sequences = [tokenizer.encode(TEXT * 3), tokenizer.encode(TEXT)]
    scored = score(find_head(model), sequences, [1, 1], Meter())
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    for ids, found in zip(sequences, scored, strict=True):
        with torch.no_grad():
            log_p = plain(torch.tensor([ids])).logits[0, :-1].log_softmax(1)
        wanted = log_p.gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
        torch.testing.assert_close(torch.as_tensor(found.logprob), wanted, atol=2e-5, rtol=1e-5)


def test_the_list_is_whole(tiny_models: ModuleType) -> None:
    assert set(FAMILIES) == set(tiny_models.FAMILIES)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_scored_as_transformers_does(family: str, tiny_model: Make) -> None:
    compare(tiny_model(family))


@pytest.mark.parametrize("name", VARIANTS)
def test_a_folder_of_another_form_is_scored_as_transformers_does(name: str, tiny_model: Make) -> None:
    family, properties = VARIANTS[name]
    compare(tiny_model(family, **properties))


@pytest.mark.parametrize("family", FAMILIES)
def test_peft_says_the_same_of_a_model_without_weights(family: str, tiny_model: Make) -> None:
    from peft import get_peft_model
    from transformers import AutoConfig

    folder = str(tiny_model(family))
    config, model = AutoConfig.from_pretrained(folder), load_model(folder, torch.float32)
    adapter = adapter_config(linear_layers(model), 4, 4.0)
    if family in WITHOUT_ADAPTERS:
        with pytest.raises(UserError, match='Train all weights: method = "full"'):
            require_trainable(folder, config, ["lora"])
        with pytest.raises(ValueError, match="incompatible"):
            get_peft_model(model, adapter)
    else:
        notes = require_trainable(folder, config, ["lora"])
        assert [("the experts" in note) for note in notes] == [True] * (family in EXPERTS)
        get_peft_model(model, adapter)


@pytest.mark.parametrize("family", [one for one in FAMILIES if one not in (*EXPERTS, *WITHOUT_ADAPTERS)])
def test_adapters_sit_where_peft_puts_them_on_all_linear_layers(family: str, tiny_model: Make) -> None:
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict

    folder = str(tiny_model(family))
    model = load_model(folder, torch.float32)
    adapter = adapter_config(linear_layers(model), 4, 4.0)
    torch.manual_seed(0)
    ours = get_peft_model_state_dict(get_peft_model(model, adapter))
    torch.manual_seed(0)
    everywhere = LoraConfig(r=4, lora_alpha=4, target_modules="all-linear", task_type="CAUSAL_LM")
    wanted = get_peft_model_state_dict(get_peft_model(load_model(folder, torch.float32), everywhere))
    torch.testing.assert_close(ours, wanted, atol=0, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_all_weights_are_trained_by_their_names_in_the_checkpoint(family: str, tiny_model: Make) -> None:
    from transformers import AutoConfig

    folder = tiny_model(family)
    config, model = AutoConfig.from_pretrained(folder), load_model(str(folder), torch.float32)
    if family in EXPERTS:
        for refused in (lambda: require_trainable("m", config, ["full"]), lambda: stored_parameters("m", model)):
            with pytest.raises(UserError, match=r'but .*experts.* differs .* Use method = "lora"'):
                refused()
    else:
        require_trainable(str(folder), config, ["full"])
        on_disk = set().union(*(tensor_names(file) for file in folder.glob("*.safetensors")))
        assert set(stored_parameters(str(folder), model)) == on_disk


@pytest.mark.parametrize("family", ["llama", "gpt_neox", "gemma3"])
def test_a_full_model_starts_as_the_checkpoint_and_is_read_as_one(family: str, tiny_model: Make) -> None:
    folder = str(tiny_model(family))
    resident = ResidentModel(folder, Recipe(name="t", model=ModelTable(method="full", path=folder)))
    tensors = resident.tensors(resident.base_weights())
    stored: dict[str, torch.Tensor] = {}
    for file in Path(folder).glob("*.safetensors"):
        stored |= safetensors.torch.load_file(file)
    torch.testing.assert_close(tensors, stored, atol=0, rtol=0)
    taken = safetensors.torch.load(resident.live.take().tensors)
    torch.testing.assert_close(taken, stored, atol=0, rtol=0)
