"""Kernels of others, called through their public functions. None is a dependency.

A peer is imported at its first call. Listing points therefore costs nothing, and a broken install harms no other peer. The
names of its outputs tell its statistics. "mean ..." is one number for the whole batch. A loss becomes a log-prob by its sign.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from collections.abc import Callable
from typing import Any

import torch

from kernel_bench.contenders import Absent, Entry, Finder, Implementation, Outputs
from kernel_bench.inputs import Inputs
from kernel_bench.points import KernelPoint

Forward = Callable[[Inputs], Outputs]

TRL_TILE = 32_768
"""Columns of a tile, as TRL's own trainers choose them."""
QUACK_ROWS = 8
"""QuACK's fused head takes batches of a multiple of so many rows."""
VERL_HIDDEN = 128
"""verl's kernel takes hidden sizes of a multiple of it."""


@functools.cache
def why_missing(module: str) -> str | None:
    """None if the package is there; found without importing it."""
    package = module.split(".")[0]
    found = package in sys.modules or importlib.util.find_spec(package) is not None
    return None if found else f"not installed (no module {package})"


def load(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)


def peer(
    name: str,
    package: str,
    module: str,
    point: KernelPoint,
    device: torch.device,
    *,
    serves: dict[str, Forward],
    cpu: bool = False,
    refusal: str | None = None,
    **traits: Any,
) -> list[Entry]:
    """Implementation of a point's task among those of the peer, or the reason that there is none."""
    if point.task not in serves:
        return [Absent(name, f"has no kernel for the task {point.task!r}")]
    if missing := why_missing(module):
        return [Absent(name, missing)]
    if device.type != "cuda" and not cpu:
        return [Absent(name, "needs a GPU")]
    if refusal:
        return [Absent(name, refusal)]
    return [Implementation(name, serves[point.task], package, **traits)]


def trl(point: KernelPoint, device: torch.device) -> list[Entry]:
    """TRL: log-prob and entropy in one kernel. It also has divergences, and both from hidden states, tile by tile."""

    def logits(inputs: Inputs) -> Outputs:
        call = load("trl.kernels.logprob_entropy", "selective_log_softmax_and_entropy")
        logprob, entropy = call(inputs.logits, inputs.target)
        return {"logprob": logprob, "entropy": entropy}

    def head(inputs: Inputs) -> Outputs:
        function = load("trl.kernels.chunked_logprob", "ChunkedLogProbFunction")
        logprob, entropy, *_ = function.apply(
            inputs.hidden, inputs.weight, None, inputs.target, 1.0, TRL_TILE, None, 1.0, ("entropy",)
        )
        return {"logprob": logprob, "entropy": entropy}

    def heads(inputs: Inputs) -> Outputs:
        function = load("trl.kernels.chunked_divergence", "ChunkedDivergenceFunction")
        beta = {"kl": 1.0, "jsd": 0.5}[point.outputs]  # 1.0 is KL(student || teacher), and the student comes first
        divergence, entropy = function.apply(
            inputs.hidden, inputs.weight, None, inputs.reference_hidden, inputs.reference_weight, None, beta
        )
        return {point.outputs: divergence, "entropy": entropy}

    return peer(
        "trl", "trl", "trl.kernels", point, device,
        serves={"logits": logits, "head": head, "heads": heads},
        cpu=point.task != "logits",
        refusal="gives one divergence a call" if point.task == "heads" and point.outputs == "onepass" else None,
        core=True,
    )  # fmt: skip


def liger(point: KernelPoint, device: torch.device) -> list[Entry]:
    """Liger: cross-entropy of logits and KL of two log-softmaxes. Both exist fused with the head."""
    functions = "liger_kernel.transformers.functional"
    trained = point.direction != "forward"

    def logits(inputs: Inputs) -> Outputs:
        return {"logprob": -load(functions, "liger_cross_entropy")(inputs.logits, inputs.target, reduction="none")}

    def pair(inputs: Inputs) -> Outputs:
        log_p_TV, log_q_TV = inputs.logits.float().log_softmax(-1), inputs.reference.float().log_softmax(-1)
        return {
            "mean reverse_kl": load(functions, "liger_kl_div")(
                log_p_TV, log_q_TV, reduction="batchmean", log_target=True
            )
        }

    def head(inputs: Inputs) -> Outputs:
        call = load(functions, "liger_fused_linear_cross_entropy")
        if trained:  # its fast path, in which the forward pass makes the gradients of a mean
            return {"mean logprob": -call(inputs.hidden, inputs.weight, inputs.target)}
        return {"logprob": -call(inputs.hidden, inputs.weight, inputs.target, reduction="none")}

    def heads(inputs: Inputs) -> Outputs:
        call = load(functions, "liger_fused_linear_jsd")
        beta = {"kl": 1.0, "jsd": 0.5}[point.outputs]
        student, teacher = (inputs.hidden, inputs.weight), (inputs.reference_hidden, inputs.reference_weight)
        return {f"mean {point.outputs}": call(*student, *teacher, jsd_beta=beta)}

    refusal = None
    if point.task == "pair" and point.outputs == "jsd":
        refusal = "its kernel for jsd takes log-probs of both; the one for kl is measured that way"
    elif point.task == "heads" and point.outputs == "onepass":
        refusal = "gives one divergence a call"
    note = {
        "logits": "float outputs in the dtype of the logits",
        "pair": "kernel takes log-probs: both log-softmaxes included",
        "heads": "gradients are made in the forward pass",
    }.get(point.task, "")
    return peer(
        "liger", "liger-kernel", "liger_kernel", point, device,
        serves={"logits": logits, "pair": pair, "head": head, "heads": heads},
        refusal=refusal, captures=False, backward_alone=False,
        overwrites=trained and point.task == "logits", note=note,
    )  # fmt: skip


def liger_scaled(point: KernelPoint, device: torch.device) -> list[Entry]:
    """Liger's fused head with an entropy. It uses CuTe on Hopper and torch in chunks of 512 rows elsewhere."""

    def head(inputs: Inputs) -> Outputs:
        function = load(
            "liger_kernel.ops.fused_linear_scaled_cross_entropy", "LigerFusedLinearScaledCrossEntropyFunction"
        )
        loss, entropy = function.apply(inputs.hidden, inputs.weight, inputs.target, 1.0, -100, 1, True)
        return {"logprob": -loss, "entropy": entropy}

    native = device.type == "cuda" and torch.cuda.get_device_capability(device) == (9, 0)
    return peer(
        "liger-scaled", "liger-kernel", "liger_kernel", point, device,
        serves={"head": head}, cpu=True, captures=False,
        refusal="its Hopper kernel needs nvidia-cutlass-dsl" if native and why_missing("cutlass") else None,
        note="" if native else "its fallback in torch",
    )  # fmt: skip


def cut_cross_entropy(point: KernelPoint, device: torch.device) -> list[Entry]:
    """Apple's cut cross-entropy: the loss of a fused head. Its backward skips tiles with a small gradient."""

    def head(inputs: Inputs) -> Outputs:
        call = load("cut_cross_entropy", "linear_cross_entropy")
        return {"logprob": -call(inputs.hidden, inputs.weight, inputs.target, reduction="none")}

    return peer(
        "cce", "cut-cross-entropy", "cut_cross_entropy", point, device, serves={"head": head}, captures=False
    )  # fmt: skip


def quack(point: KernelPoint, device: torch.device) -> list[Entry]:
    """QuACK: cross-entropy of logits and of a head in CuTe."""
    trained = point.direction != "forward"

    def logits(inputs: Inputs) -> Outputs:
        if trained:
            call = load("quack.cross_entropy", "cross_entropy")
            return {"logprob": -call(inputs.logits, inputs.target, reduction="none")}
        loss, lse = load("quack.cross_entropy", "cross_entropy_fwd")(inputs.logits, inputs.target, return_lse=True)
        return {"logprob": -loss, "lse": lse}

    def head(inputs: Inputs) -> Outputs:
        call = load("quack.linear_cross_entropy", "chunked_linear_cross_entropy")
        return {"mean logprob": -call(inputs.hidden, inputs.weight, inputs.target)}

    refusal = "its kernels need nvidia-cutlass-dsl" if why_missing("cutlass") else None
    if not refusal and point.hidden and point.rows % QUACK_ROWS:
        refusal = f"takes batches of a multiple of {QUACK_ROWS} rows"
    return peer(
        "quack", "quack-kernels", "quack", point, device,
        serves={"logits": logits, "head": head}, refusal=refusal, captures=not point.hidden,
        backward_alone=not point.hidden,
    )  # fmt: skip


def fla(point: KernelPoint, device: torch.device) -> list[Entry]:
    """flash-linear-attention: cross-entropy of logits and of a head, and KL of two heads."""

    def logits(inputs: Inputs) -> Outputs:
        loss, _ = load("fla.modules.fused_cross_entropy", "cross_entropy_loss")(inputs.logits, inputs.target)
        return {"logprob": -loss}

    def head(inputs: Inputs) -> Outputs:
        call = load("fla.modules.fused_linear_cross_entropy.ops", "fused_linear_cross_entropy_loss")
        return {"mean logprob": -call(inputs.hidden, inputs.target, inputs.weight)}

    def heads(inputs: Inputs) -> Outputs:
        call = load("fla.modules.fused_kl_div.ops", "fused_kl_div_loss")
        return {"mean reverse_kl": call(inputs.hidden, inputs.reference_hidden, inputs.weight, inputs.reference_weight)}

    refusal = "gives KL(reference || p) and no other" if point.task == "heads" and point.outputs != "kl" else None
    return peer(
        "fla", "fla-core", "fla", point, device,
        serves={"logits": logits, "head": head, "heads": heads},
        refusal=refusal, captures=not point.hidden, backward_alone=not point.hidden,
    )  # fmt: skip


def verl(point: KernelPoint, device: torch.device) -> list[Entry]:
    """verl: log-prob and entropy of a fused head in one Triton kernel."""

    def head(inputs: Inputs) -> Outputs:
        call = load("verl.utils.kernel.linear_cross_entropy", "linear_cross_entropy")
        logprob, entropy = call(inputs.hidden, inputs.weight, inputs.target, 1.0, "none")
        return {"logprob": logprob, "entropy": entropy}

    refusal = f"takes hidden sizes of a multiple of {VERL_HIDDEN}" if point.hidden % VERL_HIDDEN else None
    return peer(
        "verl", "verl", "verl", point, device, serves={"head": head}, refusal=refusal, captures=False
    )  # fmt: skip


def vllm(point: KernelPoint, device: torch.device) -> list[Entry]:
    """vLLM's sampler: log-prob and rank of the sampled token in three passes. Its rank counts logits at least as large."""

    def logits(inputs: Inputs) -> Outputs:
        scores = load("vllm.v1.worker.gpu.sample.logprob", "compute_topk_scores")(inputs.logits, 0, inputs.target)
        return {"logprob": scores.logprobs[:, 0], "rank": scores.selected_token_ranks}

    refusal = "has no backward pass" if point.direction != "forward" else None
    return peer("vllm", "vllm", "vllm", point, device, serves={"logits": logits}, refusal=refusal)


PEERS: tuple[Finder, ...] = (trl, liger, liger_scaled, cut_cross_entropy, quack, fla, verl, vllm)
