"""Gates in sequence: verdicts become the fields of a corpus's samples.

A rejected sample reaches no further gate and keeps the reason. Weights are multiplied. Remarks of the gates that
passed a sample are joined in `Sample.gate`. Every sample is accepted or rejected, and an abstention accepts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from autophage.errors import AutophageError, RunError, UserError
from autophage.gates.protocol import Context, Gate, Ruling, Verdict
from autophage.recipe.tables.gate import GateTable
from autophage.store.corpus import Sample
from autophage.store.judged import BETWEEN

ABSTAINS = "abstains, "


def apply_gates(
    gates: Sequence[GateTable], samples: Sequence[Sample], context_of: Callable[[int, GateTable], Context]
) -> None:
    """Let each gate in turn judge the samples that passed all gates before it.

    The outcome is written into `samples`: acceptance, weight and reasons. `context_of(index, gate)` returns the
    context of a gate. Without gates, samples do not change.

    Raises:
        RunError: A gate failed, returned no verdicts, or gave a weight that is not finite and above 0. The message
            names gate and sample.
        UserError: A gate raised one. The message adds the gate.
    """
    for number, gate in enumerate(gates):
        passed = [sample for sample in samples if sample.accepted]
        context = context_of(number, gate)
        name = f"{context.arm}, generation {context.generation}: gate {number + 1} ({gate.kind})"
        if not isinstance(gate, Gate):
            raise RunError(f"{name} cannot judge: its class is not derived from autophage.gates.Gate")
        for sample, verdict in zip(passed, _verdicts(gate, passed, context, name), strict=True):
            _enter(sample, verdict, gate.kind)


def _verdicts(gate: Gate, samples: Sequence[Sample], context: Context, name: str) -> list[Verdict]:
    try:
        verdicts = gate.judge(samples, context)
    except AutophageError as error:
        kind = UserError if isinstance(error, UserError) else RunError
        raise kind(f"{name}: {error}") from error
    except Exception as error:  # a plug-in may raise anything, and nothing is committed afterwards
        raise RunError(f"{name} failed: {type(error).__name__}: {error}. Nothing was committed.") from error
    if len(verdicts) != len(samples):
        raise RunError(f"{name} returned {len(verdicts)} verdicts for {len(samples)} samples. Nothing was committed.")
    for sample, verdict in zip(samples, verdicts, strict=True):
        if not isinstance(verdict, Verdict):
            raise RunError(f"{name} returned {verdict!r} for sample {sample.sample_id}, which is not a verdict.")
        if not (math.isfinite(verdict.weight) and verdict.weight > 0):
            raise RunError(
                f"{name} gave sample {sample.sample_id} the weight {verdict.weight:g}. Weights must be finite and "
                "above 0; reject a sample that must not count. Nothing was committed."
            )
    return verdicts


def _enter(sample: Sample, verdict: Verdict, kind: str) -> None:
    if verdict.ruling is Ruling.REJECT:
        sample.accepted, sample.weight, sample.gate = False, 0.0, f"{kind}: {verdict.reason}"
        return
    sample.weight *= verdict.weight
    if verdict.reason:
        prefix = ABSTAINS if verdict.ruling is Ruling.ABSTAIN else ""
        sample.gate = BETWEEN.join(filter(None, [sample.gate, f"{kind}: {prefix}{verdict.reason}"]))
