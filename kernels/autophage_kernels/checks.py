"""Checks of arguments. A refusal is a `ValueError` that names the argument. No check reads a tensor's values."""

from __future__ import annotations

import torch

LARGEST_VOCABULARY = 1 << 24
"""Maximum number of tokens in a vocabulary.

Counts and indices travel in float32, which holds integers exactly up to here.
"""


def describe(**tensors: torch.Tensor | None) -> str:
    """Return the names and shapes of tensors for a message, as in `logits (4, 9), target (3,)`.

    Arguments that are None are left out.
    """
    return ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in tensors.items() if tensor is not None)


def check_logits(logits: torch.Tensor, caller: str, **others: torch.Tensor | None) -> None:
    """Check that logits are floating-point `[..., V]` of V tokens, and that `others` are on their device.

    Raises:
        ValueError: They are not, V is 0, or V exceeds `LARGEST_VOCABULARY`. The message names `caller`.
    """
    if logits.ndim < 1 or logits.shape[-1] == 0:
        raise ValueError(f"{caller} needs logits [..., V] with a vocabulary; got {describe(logits=logits, **others)}")
    if logits.shape[-1] > LARGEST_VOCABULARY:
        shapes = describe(logits=logits, **others)
        raise ValueError(f"{caller} takes vocabularies up to {LARGEST_VOCABULARY}; got {shapes}")
    if not logits.is_floating_point():
        shapes = describe(logits=logits, **others)
        raise ValueError(f"{caller} needs floating-point logits; got {logits.dtype} in {shapes}")
    check_devices(caller, logits=logits, **others)


def check_devices(caller: str, **tensors: torch.Tensor | None) -> None:
    """Check that all tensors are on one device. Arguments that are None do not count.

    Raises:
        ValueError: They are on several. The message names `caller`.
    """
    given = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    if len({tensor.device for tensor in given.values()}) > 1:
        where = ", ".join(f"{name} on {tensor.device}" for name, tensor in given.items())
        raise ValueError(f"{caller} needs everything on one device; got {where} ({describe(**given)})")


def check_target(target: torch.Tensor | None, rows: torch.Size, caller: str, **others: torch.Tensor | None) -> None:
    """Check that a target is None, or one integer for each row of logits. `rows` is the shape of the rows.

    Raises:
        ValueError: It is not. The message names `caller` and the shapes of `others`.
    """
    if target is None:
        return
    if target.shape != rows:
        raise ValueError(f"{caller} needs one target for each row; got {describe(**others, target=target)}")
    if target.is_floating_point() or target.is_complex() or target.dtype == torch.bool:
        shapes = describe(**others, target=target)
        raise ValueError(f"{caller} needs integer targets; got {target.dtype} in {shapes}")


def as_target(target: torch.Tensor | None) -> torch.Tensor | None:
    """Return the target tokens of T rows as contiguous int64 `[T]`, as kernels read them. None stays None."""
    return None if target is None else target.reshape(-1).long().contiguous()


def as_temperature(
    temperature: float | torch.Tensor | None, rows: torch.Size, device: torch.device, caller: str
) -> torch.Tensor | None:
    """Return a temperature as kernels read it: float32 `[T]` for one per row, `[1]` for one in all, None for 1.

    Raises:
        ValueError: A number is not above 0, or a tensor has another shape or device. Values in a tensor are not read.
    """
    if temperature is None:
        return None
    if isinstance(temperature, torch.Tensor):
        if temperature.device != device:
            raise ValueError(
                f"{caller} needs everything on one device; logits are on {device}, temperature on {temperature.device}"
            )
        if temperature.numel() != 1 and temperature.shape != rows:
            raise ValueError(
                f"{caller} needs one temperature, or one for each row {tuple(rows)}; got {describe(temperature=temperature)}"
            )
        return temperature.detach().reshape(-1).float()
    if not temperature > 0:
        raise ValueError(f"{caller} needs a temperature above 0; got {temperature}")
    return None if temperature == 1 else torch.full((1,), temperature, dtype=torch.float32, device=device)


def as_softcap(softcap: float | None, caller: str) -> float:
    """Return the softcap as a number. 0 stands for None.

    Raises:
        ValueError: The softcap is not above 0.
    """
    if softcap is None:
        return 0.0
    if not softcap > 0:
        raise ValueError(f"{caller} needs a softcap above 0, or None; got {softcap}")
    return float(softcap)


def as_rows(logits: torch.Tensor) -> torch.Tensor:
    """Return logits `[..., V]` in the shape `[B, L, V]`. Up to three dimensions of any strides are not copied."""
    if logits.ndim == 3:
        return logits
    if logits.ndim < 3:
        return logits.reshape(1, -1, logits.shape[-1]) if logits.ndim == 1 else logits.unsqueeze(0)
    return logits.flatten(0, -3)


def check_head(
    hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, caller: str, **others: torch.Tensor | None
) -> None:
    """Check an LM head and its input: hidden `[..., H]`, weight `[V, H]`, and bias `[V]` or None.

    All have one floating type. They and `others` have one device. V is the vocabulary, H the hidden size.

    Raises:
        ValueError: A shape, type or device does not fit, or V is 0 or above `LARGEST_VOCABULARY`.
    """
    given = {"hidden": hidden, "weight": weight, "bias": bias, **others}
    if hidden.ndim < 1 or weight.ndim != 2 or hidden.shape[-1] != weight.shape[1] or hidden.shape[-1] == 0:
        raise ValueError(f"{caller} needs hidden [..., H] and weight [V, H]; got {describe(**given)}")
    if weight.shape[0] == 0 or weight.shape[0] > LARGEST_VOCABULARY:
        raise ValueError(f"{caller} needs a vocabulary of 1 to {LARGEST_VOCABULARY} tokens; got {describe(**given)}")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"{caller} needs bias [V]; got {describe(**given)}")
    types = {tensor.dtype for tensor in (hidden, weight, bias) if tensor is not None}
    if len(types) > 1 or not hidden.is_floating_point():
        names = ", ".join(map(str, types))
        raise ValueError(f"{caller} needs one floating type; got {names} ({describe(**given)})")
    check_devices(caller, **given)
