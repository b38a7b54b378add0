"""The contract of every gate, as a check for a package's own tests: `check_gate(MyGate(threshold=0.3))`.

The gate judges a small corpus of human, false, repeated, one-word and empty documents. It may ask for scores and
gains. A tiny model of random weights is built on the first request.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from autophage.data.build import RawSource, bind
from autophage.data.mix import TrainingRow
from autophage.data.text_source import Text
from autophage.data.tokens import decode
from autophage.data.world import World, text_of
from autophage.gates.judging import apply_gates
from autophage.gates.protocol import Context, Gate, Verdict
from autophage.metrics.scored import Scored
from autophage.recipe.schema import Recipe
from autophage.recipe.tables.mix import MixTable
from autophage.recipe.tables.model import BaseTable, ModelTable
from autophage.recipe.tables.source import SourceTable
from autophage.store.corpus import Sample
from autophage.store.judged import count_judged

HUMAN, FALSE = 12, 6
"""Numbers of human documents and of shuffled ones in the example corpus."""


class ContractError(AssertionError):
    """A gate breaks a rule that every gate must keep. The message names the rule."""


def check_gate(gate: Gate, context: Context | None = None, samples: Sequence[Sample] | None = None) -> list[Verdict]:
    """Check a gate against the rules for gates, and return its verdicts on `samples`, one each.

    Without `context` or `samples`, small examples are judged.

    Raises:
        ContractError: The gate breaks a rule.
    """
    context = example_context(gate) if context is None else context
    samples = example_samples(context) if samples is None else list(samples)
    _require(
        type(gate).model_validate_json(gate.model_dump_json()) == gate, "settings survive a round trip through JSON"
    )
    _require(gate.judge([], _anew(context)) == [], "an empty corpus gets no verdicts")
    seen = copy.deepcopy(list(samples))
    first, again = gate.judge(seen, _anew(context)), gate.judge(copy.deepcopy(list(samples)), _anew(context))
    _require(len(first) == len(samples), f"one verdict for each of {len(samples)} samples, not {len(first)}")
    _require(all(isinstance(one, Verdict) for one in first), "verdicts come from accept, reject and abstain")
    _require(first == again, "equal samples and contexts get equal verdicts")
    _require(all(map(_same, seen, samples)), "samples are not changed")
    empty = [one for one in samples if not one.token_ids]
    _require(len(gate.judge(empty, _anew(context))) == len(empty), "samples without tokens get verdicts")
    judged = copy.deepcopy(list(samples))
    apply_gates([gate], judged, lambda *_: _anew(context))
    counts = count_judged((one.accepted, one.gate) for one in judged)
    reasons = sum(count for name, count in counts.items() if name.startswith("rejected."))
    _require(
        counts["samples"] == counts["accepted"] + counts["rejected"] and counts["rejected"] == reasons,
        f"accepted and rejected samples add up: {counts}",
    )
    return first


def example_context(gate: Gate) -> Context:
    """Return the context for checks of `gate`: a small world of facts, or a small text if it cannot judge a world.

    Raises:
        ContractError: The gate can judge neither.
    """
    world = World(people=20, zipf=0.8, seed=0, held_out=10)
    text = " ".join(text_of(world.document(0, index)) for index in range(120))
    kinds: dict[str, tuple[RawSource, SourceTable]] = {
        "world": (RawSource(world), SourceTable(people=20, held_out_documents=10)),
        "text": (
            RawSource(Text(text, text[:4000])),
            SourceTable(kind="text", path="example", block=8, continuation=16),
        ),
    }
    unfit: list[str] = []
    for name, (raw, table) in kinds.items():
        recipe = Recipe(
            name="example",
            model=ModelTable(method="full"),
            base=BaseTable(vocabulary=300),
            source=table,
            mix=MixTable(),
            gate=[gate],
        )
        if wrong := gate.unfit(recipe):
            unfit.append(f"{name}: {wrong[0]}")
            continue
        tokenizer = raw.make_tokenizer(recipe)
        source = bind(raw, tokenizer, recipe)
        world_facts = world if name == "world" else None
        model = _RandomModel(recipe, tokenizer)
        return Context("example", 1, 0, recipe, tokenizer, source, world_facts, model.score, model.gains)
    raise ContractError(f"a gate must be able to judge a world or a text ({'; '.join(unfit)})")


def example_samples(context: Context) -> list[Sample]:
    """Return samples for checks of a gate, made from the human documents of `context`.

    They are human documents, shuffled ones, a repeated one, a single token and an empty text.
    """
    rng = np.random.default_rng(0)
    human = context.source.reference(HUMAN + FALSE)
    exchanged = [[int(token) for token in rng.permutation(one)] for one in human[HUMAN:]]
    documents = [*human[:HUMAN], *exchanged, human[0], human[1][:1], []]
    return [_sample(context, number, token_ids, rng) for number, token_ids in enumerate(documents)]


def _sample(context: Context, number: int, token_ids: list[int], rng: np.random.Generator) -> Sample:
    """Return the sample `token_ids` with random statistics, like those of a moderately certain model."""
    length = len(token_ids)
    logprob, entropy, varentropy = (rng.gamma(2.0, 1.0, length).astype(np.float32) for _ in range(3))
    start = context.source.start_ids
    return Sample(
        sample_id=f"sample-{number}",
        prompt=decode(context.tokenizer, start),
        text=decode(context.tokenizer, token_ids, special=False),
        prompt_ids=start,
        token_ids=token_ids,
        finish_reason="stop",
        seed=number,
        logprob=-logprob,
        entropy=entropy,
        varentropy=varentropy,
        max_prob=np.exp(-logprob),
        rank=rng.integers(1, 20, length),
    )


class _RandomModel:
    """A tiny model of random weights that scores as the writer and as model 0. It is built on the first request."""

    def __init__(self, recipe: Recipe, tokenizer: Any) -> None:
        self._recipe, self._tokenizer = recipe, tokenizer

    @cached_property
    def _resident(self) -> Any:
        import torch
        from transformers import LlamaConfig, LlamaForCausalLM

        from autophage.trainer.resident import ResidentModel

        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=len(self._tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=256,
        )
        with tempfile.TemporaryDirectory() as folder:
            LlamaForCausalLM(config).save_pretrained(folder)
            self._tokenizer.save_pretrained(folder)
            return ResidentModel(folder, self._recipe)

    def score(self, sequences: Sequence[Sequence[int]], contexts: Sequence[int], under: str) -> list[Scored]:
        found: list[Scored] = self._resident.score(sequences, contexts)
        return found

    def gains(self, rows: Sequence[TrainingRow], held: Sequence[TrainingRow], steps: int, rate: float) -> list[float]:
        found: list[float] = self._resident.gains(self._resident.base_weights(), rows, held, steps, rate)
        return found


def _anew(context: Context) -> Context:
    """Return a copy of `context` with an empty cache, as a gate sees it in a new process."""
    return Context(**{**vars(context), "memory": {}})


def _same(one: Sample, other: Sample) -> bool:
    return all(np.array_equal(value, getattr(other, name)) for name, value in vars(one).items())


def _require(kept: bool, rule: str) -> None:
    if not kept:
        raise ContractError(f"the gate breaks the contract: {rule}")
