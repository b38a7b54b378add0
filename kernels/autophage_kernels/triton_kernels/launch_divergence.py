"""Operations of `reference.divergence` as launches of the divergence kernels."""

from __future__ import annotations

from typing import Any

import torch

from autophage_kernels.divergences import (
    DIVERGENCE_FIELDS,
    DIVERGENCE_MOMENTS,
    ORDER,
    Divergence,
    divergence_slots,
)
from autophage_kernels.triton_kernels.divergence import (
    divergence_gradient_kernel,
    merge_divergence_kernel,
    mixture_divergence_kernel,
    partial_divergence_kernel,
)
from autophage_kernels.triton_kernels.launch import Launch, divide_up, power_of_two
from autophage_kernels.triton_kernels.launch_stats import (
    ALIGNED,
    MERGE_TILE,
    WARPS,
    alignment,
    split_count,
    temperature_stride,
)

BLOCK = 1024
"""Number of columns of a block. It is half of that of one distribution, as two are in flight."""
STAGES = 4


def partial_divergence(
    logits_BLV: torch.Tensor,
    reference_BLV: torch.Tensor,
    temperature: torch.Tensor | None,
    softcap: float,
    divergences: int,
    batch_invariant: bool,
    out_PST: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the partial sums of the divergences for T rows in S parts, `[DIVERGENCE_FIELDS, S, T]` float32.

    The meaning is that of `reference.partial_divergence`. A given `out_PST` is filled and has one part.
    """
    rows, vocabulary = logits_BLV.shape[:2].numel(), logits_BLV.shape[2]
    if out_PST is None:
        parts = split_count(rows, vocabulary, logits_BLV.device, batch_invariant)
        out_PST = logits_BLV.new_empty(DIVERGENCE_FIELDS, parts, rows, dtype=torch.float32)
    if rows:
        partial_divergence_launch(logits_BLV, reference_BLV, temperature, softcap, divergences, out_PST).run()
    return out_PST


def _pair(
    logits_BLV: torch.Tensor, reference_BLV: torch.Tensor, temperature: torch.Tensor | None, softcap: float
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arguments and the compile-time constants that all kernels over two distributions share."""
    arguments = {
        "x_ptr": logits_BLV,
        "y_ptr": reference_BLV,
        "temperature_ptr": temperature,
        "n_inner": logits_BLV.shape[1],
        "n_columns": logits_BLV.shape[2],
        "temperature_stride": temperature_stride(temperature),
        "softcap": softcap,
    }
    for name, tensor in (("x", logits_BLV), ("y", reference_BLV)):
        arguments |= dict(zip((f"{name}_outer", f"{name}_inner", f"{name}_column"), tensor.stride(), strict=True))
    aligned = all(alignment(tensor, batch_invariant=True) == ALIGNED for tensor in (logits_BLV, reference_BLV))
    return arguments, {"TEMPERATURE": temperature is not None, "SOFTCAP": softcap > 0, "ALIGNED": aligned}


def partial_divergence_launch(
    logits_BLV: torch.Tensor,
    reference_BLV: torch.Tensor,
    temperature: torch.Tensor | None,
    softcap: float,
    divergences: int,
    out_PST: torch.Tensor,
) -> Launch:
    parts, rows = out_PST.shape[1:]
    arguments, constants = _pair(logits_BLV, reference_BLV, temperature, softcap)
    kl = bool(divergences & (Divergence.KL | Divergence.CROSS_ENTROPY))
    reverse_kl = bool(divergences & Divergence.REVERSE_KL)
    entropy = bool(divergences & (Divergence.ENTROPY | Divergence.CROSS_ENTROPY))
    reference_entropy = bool(divergences & Divergence.REFERENCE_ENTROPY)
    if kl and reverse_kl and (entropy or reference_entropy):
        # The assembler for sm_80 fits three of the four sums into 80 registers by spilling. All four get 96 and do not spill.
        entropy = reference_entropy = True
    return Launch(
        partial_divergence_kernel,
        (rows, parts),
        arguments
        | {
            "partial_ptr": out_PST,
            "blocks_per_split": divide_up(divide_up(logits_BLV.shape[2], BLOCK), parts),
            "partial_field": out_PST.stride(0),
            "partial_split": out_PST.stride(1),
        },
        constants
        | {
            "GAP": kl,
            "REFERENCE_GAP": reverse_kl,
            "FIRST": entropy,
            "REFERENCE_FIRST": reference_entropy,
            "BLOCK": BLOCK,
            "STAGES": STAGES,
        },
        WARPS,
    )


def merge_divergence(
    partial_PST: torch.Tensor, temperature: torch.Tensor | None, softcap: float, divergences: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Merge the parts of T rows. Return D divergences `[D, T]` in nats, and moments `[DIVERGENCE_MOMENTS, T]`.

    The meaning is that of `reference.merge_divergence`. The value of jsd is uninitialised until the second pass.
    """
    parts, rows = partial_PST.shape[1:]
    place = divergence_slots(divergences)
    values_DT = partial_PST.new_empty(len(place), rows)
    moments_MT = partial_PST.new_empty(DIVERGENCE_MOMENTS, rows)
    if rows:
        padded = power_of_two(parts)
        tile = max(1, MERGE_TILE // padded)
        Launch(
            merge_divergence_kernel,
            (divide_up(rows, tile),),
            {
                "partial_ptr": partial_PST,
                "temperature_ptr": temperature,
                "values_ptr": values_DT,
                "moments_ptr": moments_MT,
                "n_rows": rows,
                "n_parts": parts,
                "partial_field": partial_PST.stride(0),
                "partial_split": partial_PST.stride(1),
                "temperature_stride": temperature_stride(temperature),
                "softcap": softcap,
            },
            {
                "TEMPERATURE": temperature is not None,
                "SOFTCAP": softcap > 0,
                **{kept.name: place.get(kept, -1) for kept in ORDER if kept != Divergence.JSD},
                "PARTS": padded,
                "ROWS": tile,
            },
            WARPS,
        ).run()
    return values_DT, moments_MT


def mixture_divergence(
    logits_BLV: torch.Tensor,
    reference_BLV: torch.Tensor,
    temperature: torch.Tensor | None,
    softcap: float,
    moments_MT: torch.Tensor,
    batch_invariant: bool,
) -> torch.Tensor:
    """Return `KL(p || m)` and `KL(q || m)` of T rows in nats, `[2, T]`, with the mixture `m = (p + q) / 2`.

    The meaning is that of `reference.mixture_divergence`. Rows are not split, so every mode is batch-invariant.
    """
    rows = moments_MT.shape[1]
    out_2T = moments_MT.new_empty(2, rows)
    if rows:
        arguments, constants = _pair(logits_BLV, reference_BLV, temperature, softcap)
        arguments |= {"moments_ptr": moments_MT, "out_ptr": out_2T, "n_rows": rows}
        constants |= {"BLOCK": BLOCK, "STAGES": STAGES}
        Launch(mixture_divergence_kernel, (rows,), arguments, constants, WARPS).run()
    return out_2T


def divergence_gradient(
    logits_BLV: torch.Tensor,
    reference_BLV: torch.Tensor,
    temperature: torch.Tensor | None,
    softcap: float,
    divergences: int,
    moments_MT: torch.Tensor,
    coefficients_CT: torch.Tensor,
    dtype: torch.dtype,
) -> torch.Tensor:
    """Return the gradient of a loss to the first logits, `[B, L, V]` of `dtype`, contiguous.

    The meaning is that of `reference.divergence_gradient`.
    """
    gradient_BLV = torch.empty(logits_BLV.shape, dtype=dtype, device=logits_BLV.device)
    if gradient_BLV.numel():
        outer, inner, vocabulary = logits_BLV.shape
        block = min(BLOCK, power_of_two(vocabulary))
        arguments, constants = _pair(logits_BLV, reference_BLV, temperature, softcap)
        arguments |= {
            "moments_ptr": moments_MT,
            "coefficients_ptr": coefficients_CT,
            "gradient_ptr": gradient_BLV,
            "n_rows": outer * inner,
        }
        constants |= {"JSD": bool(divergences & Divergence.JSD), "BLOCK": block}
        Launch(
            divergence_gradient_kernel, (outer * inner, divide_up(vocabulary, block)), arguments, constants, WARPS
        ).run()
    return gradient_BLV
