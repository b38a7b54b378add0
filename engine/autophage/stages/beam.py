"""Beam search by transformers' `generate`, with the interface of the vLLM sampler.

*The Curse of Recursion* samples by beam search. vLLM's own beam search sends each token of each beam to the engine as a
request. There, 512 documents of 64 tokens with five beams are 164,000 requests a generation. A batch that keeps its
cache is faster, so a run with beams has no vLLM. The sampler's process holds a second resident model instead.

Statistics describe the model's own distribution. A forward pass over each document computes them, because a search
chooses tokens by the whole document and draws none. The order of the prompts decides the batches, and thereby the bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from itertools import groupby
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from autophage.errors import SwapError
from autophage.metrics.scored import Statistics
from autophage.plan.tokens import CANARY_TOKENS
from autophage.recipe.schema import Recipe
from autophage.sampler.batch import Ended
from autophage.sampler.protocol import (
    Completion,
    Decoding,
    EngineSettings,
    Job,
    Request,
    Served,
)
from autophage.store.weights import Weights

if TYPE_CHECKING:
    from autophage.sampler.engine import Sampler

AnySampler: TypeAlias = "Sampler | BeamSampler"

WATCHED = tuple(field.name for field in fields(Statistics))


def sampler_for(settings: EngineSettings) -> AnySampler:
    """Start the sampler for `settings`: a `BeamSampler` for beam search, otherwise vLLM."""
    if settings.beam_recipe is not None:
        return BeamSampler(settings)
    from autophage.sampler.engine import Sampler

    return Sampler(settings)


class BeamSampler:
    """A sampler by beam search. Several threads may call it; one call computes at a time."""

    def __init__(self, settings: EngineSettings) -> None:
        from autophage.trainer.resident import ResidentModel  # TRL too, which a vLLM sampler does not load

        assert settings.beam_recipe is not None
        self._canary_tokens = CANARY_TOKENS[settings.dtype]
        self._resident = ResidentModel(settings.model_path, Recipe.model_validate_json(settings.beam_recipe))
        self._rows = settings.concurrency
        self._held: dict[str, Weights] = {}
        self._turn = Lock()
        self._next_id = 1

    def install(self, label: str, weights: Weights) -> Served:
        """Store `weights`, and return a handle with a fresh id and a name from `label` and their digest."""
        served = Served(f"{label}-{weights.digest[:16]}", self._next_id, weights.digest)
        self._next_id += 1
        self._held[served.name] = weights
        return served

    def remove(self, served: Served) -> None:
        """Forget the weights of an installed model."""
        del self._held[served.name]

    def notes(self) -> list[str]:
        """Return no messages for the user: `sample.concurrency` alone limits the beams in memory."""
        return []

    def prove(self, seconds: float = 0.0) -> bool:
        """Generate one token, unless a search is running.

        Return False: progress inside a search is not visible.
        """
        if not self._turn.acquire(blocking=False):
            return False
        try:
            self._generate([[0]], do_sample=False, max_new_tokens=1, min_new_tokens=1)
        finally:
            self._turn.release()
        return False

    def rest(self) -> None:
        """Do nothing: this sampler has no sleep mode."""

    def canary(self, served: Served, prompts: Sequence[Sequence[int]]) -> list[Completion]:
        """Return a sampled continuation of each prompt of token ids, with its log-probs (nats).

        They come from the cached decoding that beam search uses.
        """
        with self._turn:
            self._load(served)
            return [self._sampled(list(prompt), seed) for seed, prompt in enumerate(prompts)]

    def sample(self, jobs: Sequence[Job], ended: Ended, *, observe: bool = True) -> list[list[Completion]]:
        """Return one document per request, by job and in the order of the requests, found by beam search.

        Args:
            ended: Called for each document as soon as it ends.
            observe: Record statistics of every token. They never change the tokens.
        """
        documents = []
        for number, job in enumerate(jobs):
            with self._turn:
                self._load(job.served)
                written: list[Completion] = []
                for requests, decoding in self._batches(job):
                    for completion in self._search(requests, decoding):
                        ended(number, len(written), completion.token_ids)
                        written.append(completion)
                documents.append(self._watched(job.requests, written) if observe else written)
        return documents

    def _sampled(self, prompt: list[int], seed: int) -> Completion:
        torch.manual_seed(seed)
        made = self._generate(
            [prompt],
            do_sample=True, temperature=1.0, top_k=0, top_p=1.0, repetition_penalty=1.0,
            max_new_tokens=self._canary_tokens, min_new_tokens=self._canary_tokens,
            return_dict_in_generate=True, output_logits=True,
        )  # fmt: skip
        written = made.sequences[0, len(prompt) :]
        logprobs = torch.stack(made.logits)[:, 0].float().log_softmax(-1).gather(1, written[:, None])[:, 0]
        return Completion(written.tolist(), "length", logprobs=logprobs.tolist())

    def _load(self, served: Served) -> None:
        if served.name not in self._held:
            raise SwapError(f"{served.name} is not in the sampler")
        self._resident.load(self._held[served.name])

    def _batches(self, job: Job) -> Iterator[tuple[list[Request], Decoding]]:
        """Yield neighbouring requests with equal decoding in batches, each with its decoding.

        A batch has at most `sample.concurrency` beams, but at least one request.
        """
        for decoding, alike in groupby(job.requests, lambda request: request.decoding or job.decoding):
            requests, size = list(alike), max(1, self._rows // decoding.beams)
            for start in range(0, len(requests), size):
                yield requests[start : start + size], decoding

    def _search(self, requests: Sequence[Request], decoding: Decoding) -> list[Completion]:
        prompts = [request.prompt_ids for request in requests]
        made = self._generate(
            prompts,
            num_beams=decoding.beams,
            do_sample=False,
            max_new_tokens=decoding.max_tokens,
            min_new_tokens=None if decoding.stop_ids else decoding.max_tokens,
            eos_token_id=list(decoding.stop_ids) or None,
            repetition_penalty=decoding.repetition_penalty,
        )
        width = max(map(len, prompts))
        return [_completion(row[width:].tolist(), decoding.stop_ids) for row in made]

    @torch.inference_mode()
    def _generate(self, prompts: Sequence[list[int]], **settings: Any) -> Any:
        """Call transformers' `generate` on prompts of token ids, padded on the left.

        A causal model must not start after padding.
        """
        model, tokenizer = self._resident.model, self._resident.tokenizer
        padding = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        width, device = max(map(len, prompts)), model.device
        ids_BL = torch.tensor([[padding] * (width - len(one)) + one for one in prompts], device=device)
        mask_BL = torch.tensor([[0] * (width - len(one)) + [1] * len(one) for one in prompts], device=device)
        with self._resident.head.precision():
            return model.generate(input_ids=ids_BL, attention_mask=mask_BL, pad_token_id=padding, **settings)

    def _watched(self, requests: Sequence[Request], written: Sequence[Completion]) -> list[Completion]:
        sequences = [[*request.prompt_ids, *one.token_ids] for request, one in zip(requests, written, strict=True)]
        scored = self._resident.score(sequences, [len(request.prompt_ids) for request in requests])
        return [
            replace(one, statistics=Statistics(**{name: getattr(found, name) for name in WATCHED}))
            for one, found in zip(written, scored, strict=True)
        ]


def _completion(token_ids: list[int], stop_ids: Sequence[int]) -> Completion:
    """Cut the token ids of one document after its first stop token. The rest is padding."""
    ends = [place for place, token in enumerate(token_ids) if token in stop_ids]
    return Completion(token_ids[: ends[0] + 1], "stop") if ends else Completion(token_ids, "length")
