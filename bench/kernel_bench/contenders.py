"""Implementations of a point, and the ones at home: the kernels of this repository, and torch.

An implementation is a function from inputs to named outputs. The names tell which outputs it gives, which may be fewer than
asked. `Absent` stands for one that has nothing for a point or cannot run here, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from autophage_kernels import (
    TokenDivergence,
    TokenStats,
    linear_token_divergence,
    linear_token_stats,
    token_divergence,
    token_stats,
)
from kernel_bench.inputs import Inputs
from kernel_bench.points import KernelPoint

Outputs = dict[str, torch.Tensor]

OURS = "autophage"
EAGER = "eager"
PRODUCT = "product"


@dataclass(frozen=True)
class Implementation:
    """One implementation, at one point."""

    name: str
    forward: Callable[[Inputs], Outputs]
    package: str = "torch"
    core: bool = False
    """Measured at every point before the others get their turn."""
    captures: bool = True
    """Can run inside a CUDA graph: nothing in it waits for the device."""
    overwrites: bool = False
    """Writes over its inputs."""
    backward_alone: bool = True
    """Has a backward pass that can be timed apart from its forward."""
    note: str = ""


@dataclass(frozen=True)
class Absent:
    """One that does not run at a point, and why."""

    name: str
    reason: str


Entry = Implementation | Absent
Finder = Callable[[KernelPoint, torch.device], list[Entry]]
"""Finds the implementations of one origin at a point."""


def ours(point: KernelPoint, device: torch.device) -> list[Entry]:
    """The whole [T] outputs of the public functions."""

    def forward(inputs: Inputs) -> Outputs:
        if point.task == "logits":
            found: TokenStats | TokenDivergence = token_stats(inputs.logits, inputs.target, statistics=point.names)
        elif point.task == "head":
            found = linear_token_stats(inputs.hidden, inputs.weight, inputs.target, statistics=point.names)
        elif point.task == "pair":
            found = token_divergence(inputs.logits, inputs.reference, divergences=point.names)
        else:
            found = linear_token_divergence(
                inputs.hidden, inputs.weight, inputs.reference_hidden, inputs.reference_weight, divergences=point.names
            )
        return {name: values for name, values in found._asdict().items() if values is not None}

    return [Implementation(OURS, forward, "autophage", core=True)]


def statistics_of(logits_TV: torch.Tensor, target_T: torch.Tensor, varentropy: bool) -> tuple[torch.Tensor, ...]:
    """Log-softmax, gather and entropy in float32, as in most training code."""
    log_p_TV = logits_TV.float().log_softmax(-1)
    logprob_T = log_p_TV.gather(-1, target_T.unsqueeze(-1)).squeeze(-1)
    p_TV = log_p_TV.exp()
    entropy_T = -(p_TV * log_p_TV).sum(-1)
    if not varentropy:
        return logprob_T, entropy_T
    return logprob_T, entropy_T, (p_TV * (log_p_TV + entropy_T.unsqueeze(-1)).square()).sum(-1)


def divergence_of(logits_TV: torch.Tensor, reference_TV: torch.Tensor, kind: str) -> tuple[torch.Tensor, ...]:
    """Divergence of two log-softmaxes in float32. `onepass` gives KL both ways."""
    log_p_TV, log_q_TV = logits_TV.float().log_softmax(-1), reference_TV.float().log_softmax(-1)
    if kind == "jsd":
        log_m_TV = torch.logaddexp(log_p_TV, log_q_TV) - 0.6931471805599453
        to_p_TV, to_q_TV = log_p_TV.exp() * (log_p_TV - log_m_TV), log_q_TV.exp() * (log_q_TV - log_m_TV)
        return ((to_p_TV + to_q_TV).sum(-1) / 2,)
    kl_T = (log_p_TV.exp() * (log_p_TV - log_q_TV)).sum(-1)
    return (kl_T,) if kind == "kl" else (kl_T, (log_q_TV.exp() * (log_q_TV - log_p_TV)).sum(-1))


def in_torch(point: KernelPoint) -> Callable[[Inputs], Outputs]:
    """The point in plain torch. Of `all` statistics it computes two, as most code does."""
    names: tuple[str, ...]
    if point.task in ("logits", "head"):
        names = ("logprob", "entropy", "varentropy") if point.outputs == "three" else ("logprob", "entropy")
    else:
        names = {"kl": ("kl",), "onepass": ("kl", "reverse_kl"), "jsd": ("jsd",)}[point.outputs]

    def forward(inputs: Inputs) -> Outputs:
        logits_TV = inputs.logits if inputs.logits.numel() else inputs.hidden @ inputs.weight.t()
        if point.task in ("logits", "head"):
            values = statistics_of(logits_TV, inputs.target, "varentropy" in names)
        elif point.task == "pair":
            values = divergence_of(logits_TV, inputs.reference, point.outputs)
        else:
            reference_TV = inputs.reference_hidden @ inputs.reference_weight.t()
            values = divergence_of(logits_TV, reference_TV, point.outputs)
        return dict(zip(names, values, strict=True))

    return forward


def eager(point: KernelPoint, device: torch.device) -> list[Entry]:
    return [Implementation(EAGER, in_torch(point), core=True)]


def compiled(point: KernelPoint, device: torch.device) -> list[Entry]:
    if device.type != "cuda":
        return [Absent("compile", "measured on a GPU only: compiling takes longer than the whole sweep of a CPU")]
    made: list[Callable[[Inputs], Outputs]] = []

    def forward(inputs: Inputs) -> Outputs:
        if not made:
            torch.compiler.reset()  # compiled functions share their code, of which only a few variants are kept
            made.append(torch.compile(in_torch(point), dynamic=False, fullgraph=True))
        return made[0](inputs)

    return [Implementation("compile", forward)]


def product(point: KernelPoint, device: torch.device) -> list[Entry]:
    """The matrix product alone, which writes all logits. A fused head is compared with its time."""
    if point.task != "head":
        return [
            Absent(PRODUCT, "there is no product to compare with" if not point.hidden else "see the point of one head")
        ]

    def forward(inputs: Inputs) -> Outputs:
        return {"logits": inputs.hidden @ inputs.weight.t()}

    return [Implementation(PRODUCT, forward, core=True, note="no statistics")]
