"""Machine code of the kernels for absent GPUs: registers, load widths, and instructions per logit.

Slowness on a GPU shows here as a number. Examples are a load below 128 bits, a register spilled to memory, and one more
instruction in the hot path. At 4.3 TB/s an H200 has 13.8 to 15.6 issue slots for each 16-bit logit.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.kernels.machine_code import MachineCode

from autophage_kernels.divergences import DIVERGENCE_FIELDS, DIVERGENCE_MOMENTS, chosen_divergences
from autophage_kernels.partial import COEFFICIENTS, FIELDS, MOMENTS
from autophage_kernels.statistics import FLOATS, INTEGERS, chosen, slots
from autophage_kernels.triton_kernels import launch_divergence, launch_stats
from autophage_kernels.triton_kernels.launch import Launch

pytestmark = pytest.mark.thorough

CAPABILITIES = (80, 90, 100, 120)
ROWS = 4
PADDED, PACKED = 128256, 50257
"""A vocabulary that is a multiple of 16, and one whose packed rows begin anywhere."""

LOGPROB = ("logprob", "lse")
ENTROPY = (*LOGPROB, "entropy")
VARENTROPY = (*ENTROPY, "varentropy")
ALL = None

# Instructions of the hot path for each bfloat16 logit, as measured with Triton 3.9, and with Triton 3.8 for capability 100 (the
# larger of padded and packed rows), and 5 % more, for what a new compiler may do. Beyond it something else has changed.
BUDGET = {
    (80, LOGPROB): 11.25, (80, ENTROPY): 12.32, (80, VARENTROPY): 14.32, (80, ALL): 19.94,
    (90, LOGPROB): 11.19, (90, ENTROPY): 12.19, (90, VARENTROPY): 14.25, (90, ALL): 19.82,
    (100, LOGPROB): 10.0, (100, ENTROPY): 9.07, (100, VARENTROPY): 11.38, (100, ALL): 17.19,
    (120, LOGPROB): 10.88, (120, ENTROPY): 12.44, (120, VARENTROPY): 15.25, (120, ALL): 21.44,
}  # fmt: skip
ROOM = 1.05
SET_ASIDE = 8
"""Spilled bytes. A value from before the loop that is needed after it may be spilled. Nothing in the loop may."""
ELEMENTS = launch_stats.BLOCK // (32 * launch_stats.WARPS)
"""Logits that one thread takes in one turn of the loop."""


def logits_of(vocabulary: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.empty(1, ROWS, vocabulary, dtype=dtype)


def statistics_code(
    names: tuple[str, ...] | None,
    capability: int,
    vocabulary: int = PADDED,
    dtype: torch.dtype = torch.bfloat16,
    *,
    logits: torch.Tensor | None = None,
    temperature: torch.Tensor | None = None,
    softcap: float = 0.0,
    batch_invariant: bool = False,
    level: bool = False,
    arguments: dict[str, int] | None = None,
) -> MachineCode:
    logits = logits_of(vocabulary, dtype) if logits is None else logits
    rows = logits.shape[:2].numel()
    target, bits = torch.zeros(rows, dtype=torch.long), chosen(names, with_target=True)
    levels = torch.zeros(rows) if level else None
    out = torch.empty(FIELDS, 1, rows)
    launch = launch_stats.partial_launch(logits, target, levels, temperature, softcap, 0, bits, batch_invariant, out)
    return MachineCode(replace(launch, arguments=launch.arguments | (arguments or {})), capability)


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("vocabulary", [PADDED, PACKED], ids=["padded", "packed"])
@pytest.mark.parametrize("names", [LOGPROB, ENTROPY, VARENTROPY, ALL], ids=["logprob", "entropy", "varentropy", "all"])
def test_the_hot_path(names: tuple[str, ...] | None, vocabulary: int, capability: int) -> None:
    code = statistics_code(names, capability, vocabulary)
    stream = code.stream
    assert code.spilled <= SET_ASIDE
    assert not stream.local
    assert widths(stream.opcodes) == {"128"}
    assert len(stream.hot) / ELEMENTS <= BUDGET[capability, names] * ROOM


@pytest.mark.thorough
@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("vocabulary", [PADDED, PACKED], ids=["padded", "packed"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32], ids=str)
def test_other_types(dtype: torch.dtype, vocabulary: int, capability: int) -> None:
    for names in (ENTROPY, ALL):
        code = statistics_code(names, capability, vocabulary, dtype)
        assert code.spilled <= SET_ASIDE
        assert not code.stream.local
        assert widths(code.stream.opcodes) == {"128"}
        assert len(code.stream.hot) / ELEMENTS <= BUDGET[capability, names] * ROOM


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_one_exponential_for_each_logit(capability: int) -> None:
    """An H100's special function units have no time for a second one. Anything above 1 is re-basing."""
    stream = statistics_code(VARENTROPY, capability).stream
    assert sum("MUFU.EX2" in line for line in stream.hot) == ELEMENTS


def test_temperature_and_softcap_do_not_spill() -> None:
    for capability in (90, 100):
        for dtype in (torch.bfloat16, torch.float32):
            code = statistics_code(ALL, capability, dtype=dtype, temperature=torch.ones(ROWS), softcap=30.0)
            assert code.spilled == 0
            assert widths(code.stream.opcodes) == {"128"}


VARIANTS: dict[str, dict[str, Any]] = {
    "one token": {"vocabulary": 1},
    "odd rows, batch-invariant": {"vocabulary": PACKED, "batch_invariant": True},
    "against a given logit": {"level": True},
    "every other column": {"logits": torch.empty(1, ROWS, 2 * PACKED, dtype=torch.bfloat16)[..., ::2]},
    "one row three times": {"logits": torch.empty(1, 1, PADDED, dtype=torch.bfloat16).expand(1, 3, PADDED)},
    "rows 2^33 elements apart": {"arguments": {"stride_inner": 1 << 33}},
}


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_every_variant_compiles_without_spills(variant: str) -> None:
    for capability in (80, 90):
        assert statistics_code(ALL, capability, **VARIANTS[variant]).spilled == 0


def other_launches(dtype: torch.dtype, vocabulary: int, monkeypatch: pytest.MonkeyPatch) -> dict[str, Launch]:
    """Launches of the other operations, intercepted on their way to the GPU."""
    logits, target, temperature = logits_of(vocabulary, dtype), torch.zeros(ROWS, dtype=torch.long), torch.ones(ROWS)
    caught: list[Launch] = []
    monkeypatch.setattr(Launch, "run", lambda self: caught.append(self))
    bits, pair_bits = chosen(None, with_target=True), chosen_divergences(("kl", "reverse_kl", "cross_entropy", "jsd"))
    moments, pair_moments = torch.empty(MOMENTS, ROWS), torch.empty(DIVERGENCE_MOMENTS, ROWS)
    coefficients = torch.empty(COEFFICIENTS, ROWS)
    for parts in (1, 64):
        launch_stats.merge_stats(torch.empty(FIELDS, parts, ROWS), target, temperature, 30.0, -100, vocabulary, bits)
    launch_stats.stats_gradient(logits, target, temperature, 30.0, 0, moments, coefficients, dtype)
    launch_stats.stats_gradient(logits, target, None, 0.0, 0, moments, coefficients, dtype)
    launch_divergence.partial_divergence(
        logits, logits, None, 0.0, pair_bits, False, torch.empty(DIVERGENCE_FIELDS, 1, ROWS)
    )
    launch_divergence.merge_divergence(torch.empty(DIVERGENCE_FIELDS, 64, ROWS), temperature, 0.0, pair_bits)
    launch_divergence.mixture_divergence(logits, logits, temperature, 30.0, pair_moments, False)
    launch_divergence.divergence_gradient(
        logits, logits, temperature, 0.0, pair_bits, pair_moments, torch.empty(5, ROWS), dtype
    )
    return {f"{launch.kernel.fn.__name__} {number}": launch for number, launch in enumerate(caught)}


@pytest.mark.thorough
@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_the_other_kernels(dtype: torch.dtype, capability: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, launch in other_launches(dtype, PADDED, monkeypatch).items():
        code = MachineCode(launch, capability)
        assert code.spilled == 0, name
        if "merge" not in name:
            assert "128" in widths(code.opcodes), f"{name} reads logits in {code.opcodes}"
        if "gradient" in name:
            stores = {opcode for opcode in code.opcodes if opcode.startswith("STG")}
            assert stores == {"STG.E.128"}, f"{name} writes in {stores}"


@pytest.mark.parametrize("capability", [90])
def test_the_other_kernels_with_packed_rows(capability: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, launch in other_launches(torch.bfloat16, PACKED, monkeypatch).items():
        assert MachineCode(launch, capability).spilled == 0, name


def test_a_temperature_is_data_and_compiles_nothing_anew() -> None:
    def constants(temperature: float, softcap: float) -> tuple[object, object]:
        launch = launch_stats.partial_launch(
            logits_of(PADDED, torch.bfloat16), None, None, torch.full((1,), temperature), softcap, 0,
            chosen(("entropy",), with_target=False), False, torch.empty(FIELDS, 1, ROWS),
        )  # fmt: skip
        kinds = {name: type(value) for name, value in launch.arguments.items()}
        return launch.constants, kinds

    assert constants(0.7, 30.0) == constants(1.3, 50.0)


def test_the_statistics_that_a_merge_writes_are_all_of_them() -> None:
    assert len(slots(chosen(None, with_target=True), FLOATS + INTEGERS)) == len(FLOATS) + len(INTEGERS)


def widths(opcodes: dict[str, int]) -> set[str]:
    """Bits of each load of many logits; other loads are a row's few numbers."""
    copies = {opcode for opcode in opcodes if opcode.startswith("LDGSTS")}
    return {
        opcode.rsplit(".", 1)[1] for opcode in copies or (o for o in opcodes if o.startswith("LDG.") and "128" in o)
    }
