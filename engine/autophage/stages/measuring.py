"""Measuring of one generation: every metric of a model and of the corpus that it wrote."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autophage.data.annotation import document_ids
from autophage.data.source import HeldOut, Probe, spread
from autophage.data.tokens import decode
from autophage.errors import RunError
from autophage.metrics.corpus import corpus_metrics, drift_metrics
from autophage.metrics.drift import perplexities
from autophage.metrics.fluency import onpolicy_metrics, perplexity_metrics
from autophage.metrics.human import HumanText, count_human
from autophage.metrics.knowledge import knowledge_metrics
from autophage.metrics.places import place_metrics
from autophage.metrics.questions import question_metrics
from autophage.progress import Meter
from autophage.recipe.arms import Arm
from autophage.sampler.protocol import Completion
from autophage.seeds import derive
from autophage.stages.examination import Examination
from autophage.stages.judging import Judging, gate_passes, make_samples
from autophage.stages.prompting import Prompting
from autophage.stages.sources import Sources
from autophage.store.corpus import Sample
from autophage.store.manifest import Metric
from autophage.store.messages import Measured
from autophage.store.weights import Weights
from autophage.trainer.divergence import compare
from autophage.trainer.resident import ResidentModel


class MeasureStage:
    """Judge a corpus with the arm's gates, then measure it and its model."""

    def __init__(
        self,
        resident: ResidentModel,
        sources: Sources,
        prompting: Prompting,
        examination: Examination,
        judging: Judging,
    ) -> None:
        self._resident = resident
        self._sources = sources
        self._prompting = prompting
        self._examination = examination
        self._judging = judging
        self._human_texts: dict[int, HumanText] = {}

    def measure(
        self,
        arm: Arm,
        generation: int,
        weights: Weights,
        previous: Weights | None,
        completions: Sequence[Completion],
        meter: Meter,
    ) -> Measured:
        """Measure model `generation` of an arm and the corpus that it wrote.

        Return the samples, their metrics and the answers to questions. Metrics cover all samples, rejected ones too. Metrics
        that a model computes are those of generations that `measure.every` chooses.

        Args:
            weights: The model that wrote the completions. It is loaded afterwards.
            previous: The model of the previous generation, None at generation 0.
            completions: Answers to `Prompting.requests`.
            meter: Counts scored sequences.

        Raises:
            RunError: a gate failed, or a metric is not finite.
        """
        self._resident.load(weights)
        settings, asked = arm.recipe.measure, arm.recipe.sample.written
        written, answered = completions[:asked], completions[asked:]
        examined = arm.recipe.measures_model(generation)
        source = self._sources.whole
        probes = source.probes(list(settings.formats), settings.probes) if examined else []
        documents = spread(source.held_out(), settings.documents) if examined else []
        total = settings.drift * len(written) + len(probes) + len(documents) + self._examination.passes
        meter.expect(examined * total + gate_passes(arm))
        seed = derive(arm.recipe.seed, "bootstrap", arm.name, generation)
        tokenizer = self._resident.tokenizer
        samples = make_samples(arm, generation, self._prompting.documents(arm, generation), written, tokenizer)
        metrics = self._judging.judge(arm, generation, weights, self._sources.of(arm.recipe), samples, meter)
        answers = self._examination.answers(answered, meter) if examined else []
        if examined:
            metrics += self._knowledge(arm, probes, seed, meter)
            metrics += question_metrics(answers, settings.confident, settings.resamples, seed)
            metrics += place_metrics(answers, settings.confident, settings.resamples, seed)
            metrics += self._fluency(arm, documents, seed, meter)
        metrics += onpolicy_metrics(samples, settings.resamples, seed)
        metrics += self._text(arm, samples, seed)
        if examined and settings.drift:
            metrics += self._drift(arm, weights, previous, samples, seed, meter)
        if broken := [metric.metric for metric in metrics if not np.isfinite(metric.value)]:
            raise RunError(
                f"{arm.name}, generation {generation}: {', '.join(broken)} is not finite; nothing was committed"
            )
        return Measured(samples, metrics, answers)

    def _knowledge(self, arm: Arm, probes: Sequence[Probe], seed: int, meter: Meter) -> list[Metric]:
        """Return metrics of the model's answers to probes; none without probes."""
        if not probes:
            return []
        sequences = [probe.prompt_ids + probe.answer_ids for probe in probes]
        scored = self._resident.score(sequences, [len(probe.prompt_ids) for probe in probes], meter)
        settings = arm.recipe.measure
        return knowledge_metrics(probes, scored, settings.confident, settings.resamples, seed)

    def _fluency(self, arm: Arm, documents: Sequence[HeldOut], seed: int, meter: Meter) -> list[Metric]:
        """Return perplexity metrics of held-out human text, and harness metrics if the recipe has tasks."""
        settings = arm.recipe.measure
        human = self._resident.score([one.token_ids for one in documents], [one.context for one in documents], meter)
        metrics = perplexity_metrics(documents, human, settings.resamples, seed)
        if settings.harness:
            from autophage.stages.harness import harness_metrics  # an optional package, slow to import

            metrics += harness_metrics(self._resident, settings, documents[0].token_ids, seed)
        return metrics

    def _text(self, arm: Arm, samples: Sequence[Sample], seed: int) -> list[Metric]:
        """Return metrics of the samples' diversity, and of their distance from human text."""
        special = frozenset(self._resident.tokenizer.all_special_ids)
        start = self._sources.whole.start_ids
        whole = [document_ids(start, sample.prompt_ids, sample.token_ids, arm.recipe) for sample in samples]
        plain = [[token for token in one if token not in special] for one in whole]
        human = self._human_text(arm.recipe.measure.reference)
        return corpus_metrics([sample.text for sample in samples], plain, human, arm.recipe.measure, seed)

    def _human_text(self, count: int) -> HumanText:
        """Return counts over `count` human documents, equal in all arms and generations.

        They define rare tokens and new n-grams.
        """
        if count not in self._human_texts:
            documents = self._sources.whole.reference(count)
            texts = [decode(self._resident.tokenizer, one) for one in documents]
            self._human_texts[count] = count_human(documents, texts)
        return self._human_texts[count]

    def _drift(
        self,
        arm: Arm,
        weights: Weights,
        previous: Weights | None,
        samples: Sequence[Sample],
        seed: int,
        meter: Meter,
    ) -> list[Metric]:
        """Return metrics of the samples' divergence from model 0 and from the previous model, if there is one.

        Each sample's `ppl_under_base` is set.
        """
        others = [self._resident.base_weights(arm.recipe), *([previous] if previous else [])]
        sequences = [sample.prompt_ids + sample.token_ids for sample in samples]
        contexts = [len(sample.prompt_ids) for sample in samples]
        base, *before = compare(self._resident, weights, others, sequences, contexts, meter)
        for sample, value in zip(samples, perplexities([one.scored for one in base]), strict=True):
            sample.ppl_under_base = value
        return drift_metrics(samples, base, before[0] if before else None, arm.recipe.measure, seed)
