"""The stages of a generation, on the trainer's side: what is asked of the sampler, training, the canary, measuring.

`Workbench` binds one recipe's source to its resident model. Each method is a function of (arm, generation, what came
before): nothing is remembered between calls that could change a result, so `loop.py` and the engine share it, and a
resumed run computes what an uninterrupted one does. Knows neither vLLM nor Ray nor where files go, but for a folder to put
what went wrong in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from autophage.data.annotation import document_ids
from autophage.data.build import RawSource, bind, prompt_style
from autophage.data.mix import AnySamples, TrainingOrder, pool_rows, prompt_ids
from autophage.data.source import HeldOut, Probe, Source, spread
from autophage.data.tokens import decode
from autophage.errors import RunError, SwapError, UserError
from autophage.host.devices import device, device_memory, element_type
from autophage.makers import make_maker
from autophage.metrics.corpus import corpus_metrics, drift_metrics
from autophage.metrics.drift import perplexities
from autophage.metrics.fluency import onpolicy_metrics, perplexity_metrics
from autophage.metrics.human import HumanText, count_human
from autophage.metrics.knowledge import knowledge_metrics
from autophage.metrics.questions import question_metrics
from autophage.plan.footprint import demand
from autophage.plan.machines import here
from autophage.plan.memory import sampler_bytes, share_gpu, trainer_bytes
from autophage.plan.shape import configured_shape
from autophage.plan.tokens import CANARY_TOKENS
from autophage.progress import Meter, Progress
from autophage.recipe.arms import Arm, with_values
from autophage.recipe.batching import MOST_MIXED, cohorts_of, is_continuous
from autophage.recipe.schema import Recipe
from autophage.recipe.tables.mix import ALL
from autophage.recipe.tables.sample import MADE
from autophage.recipe.tables.train import VALIDATED
from autophage.sampler.protocol import Completion, Decoding, EngineSettings, Request
from autophage.seeds import derive
from autophage.stages.examination import Examination
from autophage.stages.judging import Judging, gate_passes, make_samples
from autophage.store.broken import write_broken_batch
from autophage.store.corpus import Sample
from autophage.store.manifest import Metric
from autophage.store.messages import Measured, Trained
from autophage.store.training import StepStatistics
from autophage.store.weights import Weights
from autophage.trainer.divergence import compare
from autophage.trainer.editing import edit_human
from autophage.trainer.resident import ResidentModel
from autophage.trainer.sft import NotFiniteError
from autophage.trainer.validation import BestEpoch

CANARIES = 4
CANARY_TOLERANCE = {"float32": 5e-4, "bfloat16": 0.25}
"""Largest difference in nats between the sampler's and the trainer's log-prob of a canary token. Rounding alone gives
1e-5 in float32 and a few hundredths in bfloat16; stale or partial weights of a trained model gives tenths to many."""
PROMPT_SLACK = 1.25
"""Chat prompts are decoded and tokenized again, so later ones may be somewhat longer than the first."""


class Workbench:
    def __init__(
        self,
        recipe: Recipe,
        raw: RawSource,
        model_path: str,
        resident: ResidentModel | None = None,
        inspection: Path | None = None,
    ) -> None:
        """`inspection` is a folder for batches that training stopped at; without one they are not kept."""
        self.recipe = recipe
        self._inspection = inspection
        self.resident = resident or ResidentModel(model_path, recipe)
        self.tokenizer = self.resident.tokenizer
        self._special = frozenset(self.tokenizer.all_special_ids)
        self._raw = raw
        self._sources: dict[tuple[str | int, ...], Source] = {}
        self._human_texts: dict[int, HumanText] = {}
        self.source = self._source(with_values(recipe, {"mix.domain": ALL}))
        self._examination = Examination(recipe, raw, self.resident)
        self._judging = Judging(self.resident)

    def base_weights(self, arm: Arm) -> Weights:
        """Model 0 as `arm` starts from it."""
        return self.resident.base_weights(arm.recipe)

    def _source(self, recipe: Recipe) -> Source:
        """The source with the prompts and the domain of `recipe`; arms differ in nothing else here."""
        sample, maker = recipe.sample, recipe.maker.model_dump_json()
        key = (prompt_style(recipe, self.tokenizer), sample.system, sample.annotation, maker, recipe.mix.domain)
        if key not in self._sources:
            prompter = make_maker(recipe.maker) if recipe.has_maker else None
            earlier = next(iter(self._sources.values()), None)
            self._sources[key] = bind(self._raw, self.tokenizer, recipe, maker=prompter, earlier=earlier)
        return self._sources[key]

    def engine_settings(self, arms: Sequence[Arm]) -> EngineSettings:
        """What the sampler must make room for, whichever of the arms it serves.

        Raises:
            UserError: what an arm wants does not go with this model or this source. It is the last look before work begins.
        """
        for arm in arms:
            if arm.recipe.train.keep == "best":
                self._validation(arm.recipe)
            self.resident.reference(arm.recipe)
        config = self.resident.config.get_text_config()
        longest = max(self._longest(arm.recipe) for arm in arms)
        positions = getattr(config, "max_position_embeddings", None)
        if positions is not None and longest > positions:
            raise UserError(
                f"a prompt with its sample takes {longest} tokens, but the model has {positions} positions. "
                "Lower source.block or sample.max_tokens."
            )
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        head_size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        dtype = element_type(self.recipe.model.dtype)
        adapted = [arm for arm in arms if arm.recipe.model.method == "lora"]
        continuous = is_continuous(self.recipe, device().type)
        mixed = min(len(arms), MOST_MIXED) if continuous else max(map(len, cohorts_of(arms)))
        memory, sleeps = self._memory(arms, mixed)
        return EngineSettings(
            model_path=self.resident.path,
            seed=self.recipe.seed,
            rank=max((arm.recipe.model.rank for arm in adapted), default=0),
            target_modules=tuple(self.base_weights(adapted[0]).config["target_modules"]) if adapted else (),
            longest=max(longest, self._examination.longest(positions)),
            concurrency=self.recipe.sample.concurrency,
            mixed=mixed,
            # While a batch is sampled the next one's adapters are installed, and an arm's old one leaves after its new one.
            adapters=2 * mixed + 2,
            dtype=str(dtype).removeprefix("torch."),
            device=device().type,
            memory=memory,
            sleeps=sleeps,
            kv_bytes_per_token=2 * config.num_hidden_layers * heads * head_size * dtype.itemsize,
            shares_device=self.recipe.devices != "disjoint",
            tensor_parallel=self.recipe.cluster.sampler_gpus,
            beam_recipe=self.recipe.model_dump_json() if self.recipe.sample.beams > 1 else None,
        )

    def _memory(self, arms: Sequence[Arm], mixed: int) -> tuple[float | None, bool]:
        """The sampler's memory as the recipe has it, or its share of a GPU by arithmetic; and whether it sleeps in between."""
        shape = configured_shape(self.resident.config.to_dict())
        if self.recipe.sample.memory is not None or device().type != "cuda" or shape is None:
            return self.recipe.sample.memory, False
        cluster = self.recipe.cluster
        gpus = (cluster.sampler_gpus, cluster.trainer_gpus)
        asked = [demand(here(), arm.recipe, shape, gpus, mixed) for arm in arms]
        largest = max(asked, key=lambda one: sampler_bytes(one).total + trainer_bytes(one).total)
        division = share_gpu(device_memory(), largest, self.recipe.devices)
        return division.share, division.sleeps

    def decoding(self, arm: Arm) -> Decoding:
        sample = arm.recipe.sample
        stops = self._end_ids if arm.recipe.samples_end else ()
        return Decoding(
            arm.recipe.max_tokens,
            sample.temperature,
            sample.top_p,
            sample.top_k,
            stops,
            sample.repetition_penalty,
            sample.beams,
        )

    @cached_property
    def _end_ids(self) -> tuple[int, ...]:
        """The tokens that the model ends a text or a turn with."""
        configured = getattr(self.resident.generation_config, "eos_token_id", None)
        ends = {self.tokenizer.eos_token_id, *(configured if isinstance(configured, list) else [configured])}
        return tuple(sorted(ends - {None}))

    def requests(self, arm: Arm, generation: int) -> list[Request]:
        """What model `generation` of `arm` is asked to write: the documents of its corpus, then answers to questions."""
        return self._documents(arm, generation) + self._examination.requests(self._end_ids)

    def _documents(self, arm: Arm, generation: int) -> list[Request]:
        """The documents of the corpus, each with its own seed."""
        return [
            Request(prompt, derive(arm.recipe.seed, "sample", arm.name, generation, index))
            for index, prompt in enumerate(prompt_ids(self._source(arm.recipe), arm.recipe, generation))
        ]

    def fit(
        self,
        arm: Arm,
        generation: int,
        start: Weights,
        corpora: Mapping[int, AnySamples],
        meter: Meter,
        optimizer: bytes | None = None,
    ) -> Trained:
        """Train model `generation` on what came before it; of the newest corpus samples may still be on their way.

        `optimizer` is what the training of the model before returned, where the recipe carries it. The learning rate
        goes through its whole schedule in every generation.
        `meter` counts optimizer steps and tokens.
        """
        seed = derive(arm.recipe.seed, "train", arm.name, generation)
        pool, metrics = pool_rows(self._source(arm.recipe), arm.recipe, corpora), list[Metric]()
        if arm.recipe.mix.human_edit is not None:
            self.resident.load(start)
            pool, metrics = edit_human(pool, self.resident.head, self._special, arm.recipe, generation)
        rows = TrainingOrder(pool, arm.recipe, seed)
        size = arm.recipe.train.batch_size
        best = self._best_epoch(arm.recipe, len(pool))

        def step_ended(now: Progress) -> None:
            batch = rows[size * (now.done - 1) : size * now.done]
            meter.expect(now.total)
            meter.advance(tokens=sum(len(row.token_ids) for row in batch))
            if best is not None:
                best.step_ended(now.done, now.total)

        steps: list[StepStatistics] = []
        try:
            fitted = self.resident.fit(start, rows, arm.recipe, seed, Meter(step_ended), steps.append, optimizer)
        except NotFiniteError as error:
            kept = self._keep(error, f"{arm.name}-gen-{generation:03d}-step-{error.step}")
            raise RunError(f"{arm.name}, generation {generation}: {error}{kept}") from error
        weights = fitted.weights if best is None or best.weights is None else best.weights
        return Trained(weights, meter.progress.tokens, steps, fitted.optimizer, metrics)

    def _keep(self, error: NotFiniteError, name: str) -> str:
        """Put the batch that training stopped at aside, and say where."""
        if self._inspection is None or not error.batch:
            return ""
        path = self._inspection / f"not-finite-{name}.parquet"
        write_broken_batch(path, error.batch, lambda token_ids: decode(self.tokenizer, token_ids))
        return f" Its batch is in {path}: {len(error.batch)} documents with text, tokens and their log-probs."

    def notes(self) -> list[str]:
        """What the user should hear of the work so far; each is given out once."""
        note, self.resident.portion.note = self.resident.portion.note, ""
        return [note] if note else []

    def _best_epoch(self, recipe: Recipe, rows: int) -> BestEpoch | None:
        """What picks the best epoch by held-out documents that are not measured, where the recipe wants it."""
        if recipe.train.keep == "last":
            return None
        return BestEpoch(self.resident, self._validation(recipe), rows, recipe.train.batch_size)

    def _validation(self, recipe: Recipe) -> list[HeldOut]:
        """Held-out documents that an epoch is judged by; none of them is measured."""
        documents = self.source.held_out()
        measured = set(spread(range(len(documents)), recipe.measure.documents))
        spare = [one for place, one in enumerate(documents) if place not in measured]
        if not spare:
            raise UserError(
                f'train.keep = "best" picks an epoch by held-out documents that are not measured, and all {len(documents)} are. '
                f"Lower measure.documents, or raise source.held_out or source.held_out_documents."
            )
        return spread(spare, VALIDATED)

    def _longest(self, recipe: Recipe) -> int:
        """Tokens of the longest prompt with its sample, or of a canary."""
        longest = max(len(prompt) for prompt in prompt_ids(self._source(recipe), recipe, 0))
        if prompt_style(recipe, self.tokenizer) in ("instruct", MADE):
            longest = round(longest * PROMPT_SLACK)
        canary = max(map(len, self.canary_prompts)) + CANARY_TOKENS
        return max(longest + recipe.max_tokens, canary)

    @cached_property
    def canary_prompts(self) -> list[list[int]]:
        """First halves of held-out documents: never trained on, so no model answers them by heart."""
        documents = self.source.held_out()[:CANARIES]
        return [document.token_ids[: max(document.context, len(document.token_ids) // 2)] for document in documents]

    def _human_text(self, count: int) -> HumanText:
        """What rare tokens and new n-grams are told by, in every arm and generation alike."""
        if count not in self._human_texts:
            documents = self.source.reference(count)
            self._human_texts[count] = count_human(documents, [decode(self.tokenizer, one) for one in documents])
        return self._human_texts[count]

    def check_canary(self, weights: Weights, answers: Sequence[Completion]) -> float:
        """Largest difference in nats between the sampler's log-probs of what it sampled and this model's own.

        Raises:
            SwapError: above `CANARY_TOLERANCE`: the sampler serves something else than what was trained.
        """
        self.resident.load(weights)
        sequences = [[*prompt, *answer.token_ids] for prompt, answer in zip(self.canary_prompts, answers, strict=True)]
        scored = self.resident.score(sequences, [len(prompt) for prompt in self.canary_prompts])
        worst = max(
            float(np.abs(own.logprob - np.array(answer.logprobs)).max())
            for own, answer in zip(scored, answers, strict=True)
        )
        tolerance = CANARY_TOLERANCE[str(element_type(self.recipe.model.dtype)).removeprefix("torch.")]
        if not worst <= tolerance:
            raise SwapError(
                f"the sampler does not serve the weights {weights.digest[:16]}: canary log-probs differ by {worst:.3g} nats "
                f"(at most {tolerance:g}). The swap was rolled back and nothing was committed."
            )
        return worst

    def measure(
        self,
        arm: Arm,
        generation: int,
        weights: Weights,
        previous: Weights | None,
        completions: Sequence[Completion],
        meter: Meter,
    ) -> Measured:
        """Model and corpus `generation`; `completions` are those of `requests`. Gates judge the corpus first; what is measured
        of it is all that was written.

        `previous` are the weights of the generation before, None at generation 0. `meter` counts scored sequences.
        """
        self.resident.load(weights)
        settings, asked = arm.recipe.measure, arm.recipe.sample.written
        written, answered = completions[:asked], completions[asked:]
        probes = self.source.probes(list(settings.formats), settings.probes)
        documents = spread(self.source.held_out(), settings.documents)
        total = settings.drift * len(written) + len(probes) + len(documents) + self._examination.passes
        meter.expect(total + gate_passes(arm))
        seed = derive(arm.recipe.seed, "bootstrap", arm.name, generation)
        samples = make_samples(arm, generation, self._documents(arm, generation), written, self.tokenizer)
        metrics = self._judging.judge(arm, generation, weights, self._source(arm.recipe), samples, meter)
        metrics += self._knowledge(arm, probes, seed, meter)
        answers = self._examination.answers(answered, meter)
        metrics += question_metrics(answers, settings.confident, settings.resamples, seed)
        human = self.resident.score([one.token_ids for one in documents], [one.context for one in documents], meter)
        metrics += perplexity_metrics(documents, human, settings.resamples, seed)
        if settings.harness:
            from autophage.stages.harness import harness_metrics  # an optional package, slow to import

            metrics += harness_metrics(self.resident, settings, documents[0].token_ids, seed)
        metrics += onpolicy_metrics(samples, settings.resamples, seed)
        start = self.source.start_ids
        whole = [document_ids(start, sample.prompt_ids, sample.token_ids, arm.recipe) for sample in samples]
        plain = [[token for token in one if token not in self._special] for one in whole]
        human_text = self._human_text(settings.reference)
        metrics += corpus_metrics([sample.text for sample in samples], plain, human_text, settings, seed)
        if settings.drift:
            metrics += self._drift(arm, weights, previous, samples, seed, meter)
        if broken := [metric.metric for metric in metrics if not np.isfinite(metric.value)]:
            raise RunError(
                f"{arm.name}, generation {generation}: {', '.join(broken)} is not finite; nothing was committed"
            )
        return Measured(samples, metrics, answers)

    def _knowledge(self, arm: Arm, probes: Sequence[Probe], seed: int, meter: Meter) -> list[Metric]:
        if not probes:
            return []
        sequences = [probe.prompt_ids + probe.answer_ids for probe in probes]
        scored = self.resident.score(sequences, [len(probe.prompt_ids) for probe in probes], meter)
        settings = arm.recipe.measure
        return knowledge_metrics(probes, scored, settings.confident, settings.resamples, seed)

    def _drift(
        self,
        arm: Arm,
        weights: Weights,
        previous: Weights | None,
        samples: Sequence[Sample],
        seed: int,
        meter: Meter,
    ) -> list[Metric]:
        """What model 0 and the previous model say of the samples, whose perplexity under model 0 is filled in."""
        others = [self.base_weights(arm), *([previous] if previous else [])]
        sequences = [sample.prompt_ids + sample.token_ids for sample in samples]
        contexts = [len(sample.prompt_ids) for sample in samples]
        base, *before = compare(self.resident, weights, others, sequences, contexts, meter)
        for sample, value in zip(samples, perplexities([one.scored for one in base]), strict=True):
            sample.ppl_under_base = value
        return drift_metrics(samples, base, before[0] if before else None, arm.recipe.measure, seed)
