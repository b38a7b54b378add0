"""Hooks around the call in which vLLM turns a step's logits into tokens.

vLLM has two model runners: V1 runs on CPUs, and V2 on GPUs. vLLM 0.26 runs some mixtures of experts, hybrid and attention-free
models with V1 on GPUs too. Each runner has a thin adapter here over the same `Recorder`. The adapter passes the raw logits on
before the sampler may change them. Afterwards it passes the sampled tokens on, with each row's request id and the token's
position in its output.

The position is the sequence's length minus its prompt's. It stays correct after a request is preempted and resumed.
Rows and slots change between steps and are never remembered. A hook draws no random number, writes nothing that the
sampler reads and waits for no device. The names hold for vLLM 0.26 to 0.33. `attach` refuses a runner with others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from autophage.errors import RunError
from autophage.sampler.recorder import Recorder, Rows

Detach = Callable[[], None]

V1_NEEDS = (
    "_sample",
    "optimistic_seq_lens_cpu",
    "discard_request_mask.np",
    "input_batch.req_ids",
    "input_batch.num_reqs",
    "input_batch.num_prompt_tokens",
)
V2_NEEDS = ("sampler", "req_states.prompt_len.np", "req_states.prefill_len.np")
"""Attributes of a runner that are read, by runner."""


def records_here() -> bool:
    """Return True in the worker that records token statistics: tensor rank 0 of the last pipeline stage.

    Every tensor rank gathers the full logits and samples the same tokens. One of them is enough.
    """
    from vllm.distributed.parallel_state import get_pp_group, get_tp_group

    return bool(get_pp_group().is_last_rank and get_tp_group().rank_in_group == 0)


def attach(runner: Any, recorder: Recorder) -> Detach:
    """Show the logits and tokens of every step of vLLM's model runner to `recorder`.

    Return the function that ends this.

    Raises:
        RunError: The engine samples in a way that cannot be recorded, or this vLLM has other names.
    """
    config = runner.vllm_config
    if config.speculative_config is not None:
        raise RunError("statistics of sampled tokens cannot be recorded under speculative decoding. Switch it off.")
    if getattr(config.parallel_config, "enable_batch_sharded_sampling", None):
        raise RunError("statistics of sampled tokens cannot be recorded under batch-sharded sampling. Switch it off.")
    return _attach_v2(runner, recorder) if config.use_v2_model_runner else _attach_v1(runner, recorder)


def _attach_v1(runner: Any, recorder: Recorder) -> Detach:
    _require(runner, V1_NEEDS)
    own = runner._sample

    def _sample(logits: Any, *args: Any, **kwargs: Any) -> Any:
        recorder.before(logits)
        output = own(logits, *args, **kwargs)
        recorder.after(output.sampled_token_ids, lambda: v1_rows(runner))
        return output

    def detach() -> None:
        runner.__dict__.pop("_sample", None)

    runner._sample = _sample
    return detach


def _attach_v2(runner: Any, recorder: Recorder) -> Detach:
    _require(runner, V2_NEEDS)
    sampler = runner.sampler
    own = type(sampler)

    def call(self: Any, logits: Any, input_batch: Any, *args: Any, **kwargs: Any) -> Any:
        recorder.before(logits)
        output = own.__call__(self, logits, input_batch, *args, **kwargs)
        recorder.after(output.sampled_token_ids, lambda: v2_rows(runner, input_batch))
        return output

    def detach() -> None:
        sampler.__class__ = own

    # Python looks `__call__` up on the type. A class of the same layout keeps the object, and with it every reference
    # that the runner holds.
    sampler.__class__ = type(f"Observed{own.__name__}", (own,), {"__call__": call})
    return detach


def v1_rows(runner: Any) -> Rows:
    """Return the owners of the rows of this step's logits: request ids and output positions.

    They come from the V1 runner's persistent batch, which uses its first `num_reqs` rows.
    """
    batch = runner.input_batch
    used = slice(0, batch.num_reqs)
    return Rows(
        list(batch.req_ids[used]),
        runner.optimistic_seq_lens_cpu[used].numpy() - batch.num_prompt_tokens[used],
        ~runner.discard_request_mask.np[used],
    )


def v2_rows(runner: Any, batch: Any) -> Rows:
    """Return the owners of the rows of this step's logits: request ids and output positions.

    They come from the V2 runner's `batch` of the step, whose slots index the runner's state.
    """
    slots = batch.idx_mapping_np[: batch.num_reqs]
    length_R = batch.seq_lens_cpu_upper_bound[: batch.num_reqs].numpy()
    state = runner.req_states
    return Rows(
        list(batch.req_ids[: batch.num_reqs]),
        length_R - state.prompt_len.np[slots],
        # A prompt may be read in pieces, and a preempted request with its output too. Only the last piece samples.
        length_R >= state.prefill_len.np[slots],
    )


def _require(runner: Any, names: tuple[str, ...]) -> None:
    for name in names:
        found = runner
        for part in name.split("."):
            if (found := getattr(found, part, None)) is None:
                raise RunError(
                    f"this vLLM's {type(runner).__module__} has no {name}, from which statistics are recorded; "
                    "`autophage doctor` tells which versions have it."
                )
