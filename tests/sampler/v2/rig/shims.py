"""Replacements of the parts of vLLM and Triton that need a GPU.

`before_imports` runs before torch and vLLM are imported, `after_imports` before an engine starts. Each shim states the reason
why it is needed. The names hold for vLLM 0.26 to 0.33.
"""

from __future__ import annotations

import inspect
import os
from types import SimpleNamespace
from typing import Any


def before_imports() -> None:
    # Where Triton cannot compile, vLLM takes the V1 runner. The variable decides before vLLM asks for Triton.
    os.environ["VLLM_USE_V2_MODEL_RUNNER"] = "1"
    # The V2 runner prepares inputs and samples with Triton kernels. The interpreter runs them in numpy.
    os.environ["TRITON_INTERPRET"] = "1"
    # The recorder's kernels have tests of their own, and are slow in the interpreter.
    os.environ["AUTOPHAGE_KERNELS"] = "torch"
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    _cpu_backend()


def after_imports() -> None:
    import torch

    from autophage.sampler import cpu_lora

    # As `Sampler` does where its settings name a CPU. Here they name a GPU.
    cpu_lora.install()
    torch.compiler.set_stance("force_eager")
    _top_k_top_p_of_torch()
    _async_scheduling()
    _log1p()
    _patch_languages_once()


def _cpu_backend() -> None:
    """Add a Triton back end named "cpu".

    Without one, a vLLM built for CPUs replaces Triton by a placeholder whose kernels cannot be launched.
    """
    import triton.backends

    driver = SimpleNamespace(is_active=lambda: True)
    triton.backends.backends.setdefault("cpu", SimpleNamespace(driver=driver, compiler=None))


def _top_k_top_p_of_torch() -> None:
    """Truncate by vLLM's torch function. The interpreter fails in its Triton twin, which calls `.to` on a plain int."""
    from vllm.v1.sample.ops import topk_topp_sampler as ops

    def by_torch(logits: Any, k: Any, p: Any, *_: Any, **__: Any) -> Any:
        return ops.apply_top_k_top_p_pytorch(logits, k, p)

    if hasattr(ops, "apply_top_k_top_p_triton"):
        ops.apply_top_k_top_p_triton = by_torch


def _async_scheduling() -> None:
    """Let the arguments decide about asynchronous scheduling. The platform of CPUs switches it off; a GPU's does not."""
    from vllm.platforms import current_platform

    platform: Any = type(current_platform)
    whole = platform.check_and_update_config.__func__

    def check_and_update_config(cls: Any, config: Any) -> None:
        asked = config.scheduler_config.async_scheduling
        whole(cls, config)
        config.scheduler_config.async_scheduling = asked

    platform.check_and_update_config = classmethod(check_and_update_config)


def _log1p() -> None:
    """Replace libdevice's `log1p`, which vLLM 0.26 calls and the interpreter answers with None."""
    import triton.language
    from vllm.v1.worker.gpu.sample import gumbel

    if hasattr(gumbel, "tldevice"):
        vars(gumbel)["tldevice"] = SimpleNamespace(log1p=lambda x: triton.language.log(x + 1.0))


def _patch_languages_once() -> None:
    """Let the interpreter patch `triton.language` once for a function, not at each call of it. For speed alone."""
    import triton.language
    from triton.runtime import interpreter

    whole = interpreter._patch_lang
    languages = (triton.language, triton.language.core)
    patched: dict[frozenset[int], Any] = {}

    def patch_once(function: Any) -> Any:
        used = [one for one in function.__globals__.values() if inspect.ismodule(one) and one in languages]
        key = frozenset(id(one) for one in used)
        if key not in patched:
            patched[key] = whole(function)
        return SimpleNamespace(restore=lambda: None)

    interpreter._patch_lang = patch_once
