"""Whether LoRA on the CPU goes by `grouped_lora` or by vLLM's own path: the first, where this vLLM is as that expects.

vLLM's CPU platform names the class that multiplies with adapters; `install` makes it name another. Where the class or the
parameters of a method that is replaced have changed, vLLM's own path stays, which is slower, and a log line says so.
"""

from __future__ import annotations

import inspect
import logging
from typing import Any

logger = logging.getLogger(__name__)

REPLACED = "vllm.lora.punica_wrapper.punica_cpu.PunicaWrapperCPU"
METHODS = ("update_metadata", "add_lora_linear", "add_lora_logits", "add_lora_embedding")
"""Replaced."""
READ = ("token_lora_indices", "sampler_indices")
"""The slot of each row, as vLLM's class has it."""


def install() -> bool:
    """Multiply by groups in every engine that starts in this process from here on; False where vLLM's own path stays."""
    from vllm.platforms import current_platform

    try:
        from autophage.sampler.grouped_lora import GroupedPunicaWrapper
    except ImportError as error:  # a vLLM that has moved what is replaced
        return _refuse(str(error))
    own = f"{GroupedPunicaWrapper.__module__}.{GroupedPunicaWrapper.__qualname__}"
    used = current_platform.get_punica_wrapper()
    if used == own:
        return True
    if used != REPLACED:
        return _refuse(f"it uses {used}")
    theirs = GroupedPunicaWrapper.__base__
    changed = [name for name in METHODS if _parameters(theirs, name) != _parameters(GroupedPunicaWrapper, name)]
    changed += [name for name in READ if not hasattr(theirs, name)]
    if changed:
        return _refuse(f"it has changed {', '.join(changed)}")
    platform: Any = type(current_platform)
    platform.get_punica_wrapper = classmethod(lambda _: own)
    return True


def _refuse(reason: str) -> bool:
    logger.warning("LoRA on the CPU stays on vLLM's own, slower path: %s", reason)
    return False


def _parameters(owner: Any, name: str) -> list[tuple[str, Any]] | None:
    method = getattr(owner, name, None)
    return method and [(one.name, one.kind) for one in inspect.signature(method).parameters.values()]
