"""Chooses the LoRA implementation on the CPU: `grouped_lora` where it fits the installed vLLM, else vLLM's own.

vLLM's CPU platform names the class that multiplies with adapters. `install` replaces that name. A vLLM whose class or
method parameters have changed keeps its own, slower path. A log line reports that.
"""

from __future__ import annotations

import inspect
import logging
from typing import Any

logger = logging.getLogger(__name__)

REPLACED = "vllm.lora.punica_wrapper.punica_cpu.PunicaWrapperCPU"
METHODS = ("update_metadata", "add_lora_linear", "add_lora_logits", "add_lora_embedding")
"""Methods that are replaced."""
READ = ("token_lora_indices", "sampler_indices")
"""Attributes of vLLM's class that hold the slot of each row."""


def install() -> bool:
    """Use `grouped_lora` for LoRA in every later CPU engine of this process. Return False if vLLM's own path stays."""
    from vllm.platforms import current_platform

    try:
        from autophage.sampler.grouped_lora import GroupedPunicaWrapper
    except ImportError as error:  # another vLLM, without the class that is replaced
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
