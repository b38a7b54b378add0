"""The samples of a corpus, and the verdicts of an arm's gates on them.

Gates may read the source, and score texts under the writer's weights or model 0. Both are bound here, and their tokens
are counted.
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
from autophage.recipe.schema import Recipe
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
    """Combine each request with its completion into a sample, with the statistics recorded during sampling.

    Raises:
        RunError: a completion has no statistics.
    """
    samples = []
    for index, (request, completion) in enumerate(zip(requests, completions, strict=True)):
        if completion.statistics is None:
            raise RunError(f"{arm.name}, generation {generation}: sample {index} came without its statistics")
        prompt, text = prompt_and_text(request.prompt_ids, completion.token_ids, arm.recipe, tokenizer)
        samples.append(
            Sample(
                sample_id=sample_id(arm.recipe.seed, arm.name, generation, index, request.prompt_ids, request.seed),
                prompt=prompt,
                text=text,
                prompt_ids=request.prompt_ids,
                token_ids=completion.token_ids,
                finish_reason=completion.finish_reason,
                seed=request.seed,
                **vars(completion.statistics),
            )
        )
    return samples


def gate_passes(arm: Arm) -> int:
    """Count the sequences that an arm's gates score per generation. A gradient step counts as one."""
    gates, written = arm.recipe.gate, arm.recipe.sample.written
    own = sum(gate.passes + gate.gradient_steps for gate in gates)
    return own * written + sum(gate.human_passes for gate in gates) * (written + 1)


class GateModels:
    """The models that gates may ask about one corpus: its writer, and model 0.

    `scored_tokens` and `trained_tokens` count the tokens that they read.
    """

    def __init__(self, resident: ResidentModel, recipe: Recipe, writer: Weights, meter: Meter) -> None:
        self._resident = resident
        self._recipe = recipe
        self._writer = writer
        self._meter = meter
        self.scored_tokens = 0
        self.trained_tokens = 0

    def score(self, sequences: Sequence[Sequence[int]], contexts: Sequence[int], under: str) -> list[Scored]:
        """Return statistics of the tokens `sequences[i][contexts[i]:]` for each i, in order.

        `under` names the writer or model 0. The writer is loaded afterwards.
        """
        self.scored_tokens += sum(map(len, sequences))
        self._resident.load(self._writer if under == WRITER else self._resident.base_weights(self._recipe))
        try:
            return self._resident.score(sequences, contexts, self._meter)
        finally:
            self._resident.load(self._writer)

    def gains(self, rows: Sequence[TrainingRow], held: Sequence[TrainingRow], steps: int, rate: float) -> list[float]:
        """Return the fall of the loss on `held` (nats a token) after gradient steps on each row alone, in order.

        Each row starts from the writer and gets `steps` steps at learning rate `rate`.
        """
        self.trained_tokens += steps * sum(len(row.token_ids) for row in rows)
        self.scored_tokens += (1 + len(rows)) * sum(len(row.token_ids) for row in held)
        return self._resident.gains(self._writer, rows, held, steps, rate, self._meter)


class Judging:
    """Run the gates of arms, and keep the models that gates load from one generation to the next."""

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
        """Set the verdict of an arm's gates on each sample, in place.

        Return metrics of the verdicts; none without gates.

        Args:
            weights: The model that wrote the samples. It is loaded afterwards.
            meter: Counts scored sequences.

        Raises:
            RunError: a gate failed, or returned something other than verdicts.
        """
        if not arm.recipe.gate:
            return []
        model = GateModels(self._resident, arm.recipe, weights, meter)
        read_before = self._tokens_read()

        def context_of(number: int, gate: GateTable) -> Context:
            return Context(
                arm=arm.name,
                generation=generation,
                seed=derive(arm.recipe.seed, "gate", number, gate.kind, arm.name, generation),
                recipe=arm.recipe,
                tokenizer=self._resident.tokenizer,
                source=source,
                world=source.world if isinstance(source, WorldSource) else None,
                score=model.score,
                gains=model.gains,
                memory=self._memory,
            )

        apply_gates(arm.recipe.gate, samples, context_of)
        metrics = [*judged_metrics(samples), Metric("gate/scored_tokens", float(model.scored_tokens))]
        if model.trained_tokens:
            metrics.append(Metric("gate/trained_tokens", float(model.trained_tokens)))
        if read := self._tokens_read() - read_before:
            metrics.append(Metric("speed/judge_tokens", float(read)))
        return metrics

    def _tokens_read(self) -> int:
        """Count the tokens that the gates' own models have read in this process."""
        return sum(model.tokens_read for model in self._memory.values() if isinstance(model, Reader))
