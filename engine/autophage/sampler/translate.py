"""Requests and documents in vLLM's own types, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from autophage.errors import RunError
from autophage.sampler.protocol import Completion, Decoding, Request

OWN_LOGPROB_TOLERANCE = 1e-3
"""Largest difference (nats) between a recorded log-prob and vLLM's own of the same token. Both come from the same logits, so
rounding leaves 1e-5 at any element type. Another row, step or distribution differs by tenths or more."""


def sampling(request: Request, decoding: Decoding) -> Any:
    """Return vLLM's parameters of one request."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    # A greedy request draws nothing, and vLLM refuses top_k and top_p beside temperature 0.
    random = decoding.temperature > 0
    return SamplingParams(
        max_tokens=decoding.max_tokens,
        temperature=decoding.temperature,
        top_p=decoding.top_p if random else 1.0,
        top_k=decoding.top_k if random else 0,
        repetition_penalty=decoding.repetition_penalty,
        seed=request.seed if random else None,
        stop_token_ids=list(decoding.stop_ids),
        ignore_eos=not decoding.stop_ids,
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def require_agreement(completions: Sequence[Completion]) -> None:
    """Compare the recorded log-probs of canary completions with those that vLLM reports for the same tokens.

    Raises:
        RunError: They differ, so the record is of another token, row or distribution.
    """
    for completion in completions:
        if completion.statistics is None or completion.logprobs is None:
            raise RunError("a canary came back without its log-probs")
        worst = float(np.abs(completion.statistics.logprob - np.array(completion.logprobs)).max())
        if not worst <= OWN_LOGPROB_TOLERANCE:
            raise RunError(
                f"recorded log-probs differ from vLLM's own by {worst:.3g} nats (at most {OWN_LOGPROB_TOLERANCE:g}): the "
                "statistics of sampled tokens cannot be trusted with this vLLM. Nothing was committed."
            )


def completion(output: Any) -> Completion:
    """Return a finished document of vLLM's, with vLLM's own log-probs if it has them."""
    token_ids = list(output.token_ids)
    logprobs = None
    if output.logprobs is not None:
        logprobs = [step[token].logprob for step, token in zip(output.logprobs, token_ids, strict=True)]
    return Completion(token_ids, str(output.finish_reason), logprobs)
