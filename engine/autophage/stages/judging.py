"""A corpus in the making: what the sampler wrote, as samples, and what the arm's gates say of them.

Binds gates to what they may ask: the source, and the resident model with the writer's weights or model 0's. Counts what that
costs. Knows neither vLLM nor when it is called.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

from autophage.data.annotation import prompt_and_text
from autophage.data.mix import TrainingRow
from autophage.data.source import Source
from autophage.data.world_source import WorldSource
from autophage.errors import RunError
from autophage.gates.judging import apply_gates
from autophage.gates.protocol import WRITER, Context, Reader
from autophage.metrics.judged import judged_metrics
from autophage.metrics.scored import Scored
from autophage.progress import Meter
from autophage.recipe.arms import Arm
from autophage.recipe.tables.gate import GateTable
from autophage.sampler.protocol import Completion, Request
from autophage.seeds import derive
from autophage.store.corpus import Sample, sample_id
from autophage.store.manifest import Metric
from autophage.store.weights import Weights
from autophage.trainer.resident import ResidentModel

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def make_samples(
    arm: Arm,
    generation: int,
    requests: Sequence[Request],
    completions: Sequence[Completion],
    tokenizer: PreTrainedTokenizerBase,
) -> list[Sample]:
    """The completions as the corpus holds them, with the statistics that were recorded while they were sampled."""
    samples = []
    for index, (request, answer) in enumerate(zip(requests, completions, strict=True)):
        if answer.statistics is None:
            raise RunError(f"{arm.name}, generation {generation}: sample {index} came without its statistics")
        prompt, text = prompt_and_text(request.prompt_ids, answer.token_ids, arm.recipe, tokenizer)
        samples.append(
            Sample(
                sample_id=sample_id(arm.recipe.seed, arm.name, generation, index, request.prompt_ids, request.seed),
                prompt=prompt,
                text=text,
                prompt_ids=request.prompt_ids,
                token_ids=answer.token_ids,
                finish_reason=answer.finish_reason,
                seed=request.seed,
                **vars(answer.statistics),
            )
        )
    return samples


def gate_passes(arm: Arm) -> int:
    """Sequences that the gates of an arm have a model read, for each generation; a gradient step reads one."""
    gates, written = arm.recipe.gate, arm.recipe.sample.written
    own = sum(gate.passes + gate.gradient_steps for gate in gates)
    return own * written + sum(gate.human_passes for gate in gates) * (written + 1)


class Judging:
    """What gates load is kept from one generation to the next, here."""

    def __init__(self, resident: ResidentModel) -> None:
        self._resident = resident
        self._memory: dict[Hashable, Any] = {}

    def judge(
        self,
        arm: Arm,
        generation: int,
        weights: Weights,
        source: Source,
        samples: Sequence[Sample],
        meter: Meter,
    ) -> list[Metric]:
        """Let the arm's gates judge `samples`, in place; returns metrics of it, none where there are no gates.

        `weights` wrote the samples, and are left loaded. `meter` counts sequences that were read.

        Raises:
            RunError: a gate failed, or answered what is no verdict.
        """
        if not arm.recipe.gate:
            return []
        scored_tokens = trained_tokens = 0
        read_before = self._tokens_read()

        def score(sequences: Sequence[Sequence[int]], contexts: Sequence[int], under: str) -> list[Scored]:
            nonlocal scored_tokens
            scored_tokens += sum(map(len, sequences))
            other = weights if under == WRITER else self._resident.base_weights(arm.recipe)
            self._resident.load(other)
            try:
                return self._resident.score(sequences, contexts, meter)
            finally:
                self._resident.load(weights)

        def gains(rows: Sequence[TrainingRow], held: Sequence[TrainingRow], steps: int, rate: float) -> list[float]:
            nonlocal scored_tokens, trained_tokens
            trained_tokens += steps * sum(len(row.token_ids) for row in rows)
            scored_tokens += (1 + len(rows)) * sum(len(row.token_ids) for row in held)
            return self._resident.gains(weights, rows, held, steps, rate, meter)

        def context_of(number: int, gate: GateTable) -> Context:
            seed = derive(arm.recipe.seed, "gate", number, gate.kind, arm.name, generation)
            world = source.world if isinstance(source, WorldSource) else None
            return Context(
                arm.name,
                generation,
                seed,
                arm.recipe,
                self._resident.tokenizer,
                source,
                world,
                score,
                gains,
                self._memory,
            )

        apply_gates(arm.recipe.gate, samples, context_of)
        metrics = [*judged_metrics(samples), Metric("gate/scored_tokens", float(scored_tokens))]
        if trained_tokens:
            metrics.append(Metric("gate/trained_tokens", float(trained_tokens)))
        if read := self._tokens_read() - read_before:
            metrics.append(Metric("speed/judge_tokens", float(read)))
        return metrics

    def _tokens_read(self) -> int:
        """By the models that recipes name for their gates, in the whole run."""
        return sum(model.tokens_read for model in self._memory.values() if isinstance(model, Reader))
