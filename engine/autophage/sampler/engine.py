"""A vLLM engine in this process. It takes requests and adapters, and returns documents with statistics of their tokens.

One engine serves every arm. A call brings the requests of one or several models, and calls that overlap share the
engine's queue. Every request of a call is submitted between the same two steps, in the order given. A call that runs
alone therefore decides the composition of each step. On a CPU this fixes every bit of the result.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from autophage.errors import AutophageError, EngineDeadError, SwapError
from autophage.host import vllm_window
from autophage.host.devices import out_of_memory
from autophage.plan.tokens import CANARY_TOKENS
from autophage.sampler import ranks
from autophage.sampler.arguments import engine_arguments
from autophage.sampler.base_weights import BaseWeights
from autophage.sampler.batch import Asked, Batch, Ended
from autophage.sampler.owner import OwnerThread
from autophage.sampler.protocol import Completion, EngineSettings, Job, Served
from autophage.sampler.record import Record
from autophage.sampler.start import refusals, start, without_pattern
from autophage.sampler.translate import completion, require_agreement, sampling
from autophage.sampler.window import Place, Window
from autophage.store.weights import Weights, digest_of

T = TypeVar("T")


class Sampler:
    """A running vLLM engine that serves several models.

    Calls may come from several threads. A thread of its own does their work, first come first served between two steps.
    """

    def __init__(self, settings: EngineSettings) -> None:
        self._owner = OwnerThread("engine")
        self._owner.call(self._start, settings)

    def _start(self, settings: EngineSettings) -> None:
        vllm_window.require()
        arguments = engine_arguments(settings)  # its refusals name a setting, and are not about the model
        from vllm import EngineArgs

        if settings.device == "cpu":
            import torch

            from autophage.sampler import cpu_lora

            cpu_lora.install()
            # The engine is eager here. A few functions of vLLM compile themselves nevertheless: the one that counts ranks for
            # a canary kept the C++ compiler busy for 14 s in every run.
            torch.compiler.set_stance("force_eager")
        ranks.prepare(settings)
        with refusals(settings), without_pattern(settings.model_path) as path:
            self._engine: Any = start(EngineArgs(**arguments | {"model": path}))
        if settings.tensor_parallel > 1:
            self._call("autophage_settle_rank", settings.device)
        self._bases = BaseWeights(self._engine, settings.dtype)
        self._digests = ThreadPoolExecutor(1, "digest")
        self._sleeps, self._asleep = settings.sleeps, False
        self._dtype = settings.dtype
        self._next_id = 1
        self._next_request = 0
        self._window = Window(settings.concurrency)
        self._recovers = settings.tensor_parallel == 1  # a worker process ends with a step that fails
        self._observing = False
        self._records: list[Record] = []
        self._failure: Exception | None = None
        if settings.device == "cpu":  # on a GPU vLLM's start has computed with the model
            with refusals(settings):
                self._write_first()

    def install(self, label: str, weights: Weights) -> Served:
        """Install weights under a fresh id and a name with their digest. Return the handle that requests take.

        No adapter is ever replaced in place.

        Raises:
            SwapError: The bytes do not match their digest, or vLLM does not take them.
        """
        return self._owner.call(self._install, f"{label}-{weights.digest[:16]}", label, weights)

    def _install(self, name: str, label: str, weights: Weights) -> Served:
        self._wake()
        if weights.method == "full":
            return Served(name, 0, weights.digest, self._bases.hold(name, weights))
        served = Served(name, self._next_id, weights.digest)
        self._next_id += 1
        # The digest takes as long as all the rest and releases the interpreter lock, so it runs meanwhile.
        arrived = self._digests.submit(digest_of, weights.tensors)
        refused: Exception | None = None
        try:
            self._call("autophage_install_adapter", served.adapter_id, weights.tensors, json.dumps(weights.config))
        except Exception as error:
            refused = error
        if (found := arrived.result()) != weights.digest:
            self._call("autophage_remove_adapter", served.adapter_id)
            raise SwapError(
                f"{label}: the adapter that arrived ({found[:16]}, {len(weights.tensors):,} bytes) is not the one that was "
                f"sent ({weights.digest[:16]}). Nothing was installed."
            ) from refused
        if refused is not None:
            raise SwapError(f"{label}: vLLM does not take the adapter ({refused})") from refused
        return served

    def remove(self, served: Served) -> None:
        """Remove an installed model that no request uses any more.

        A sleeping engine sleeps on, because the host alone forgets the model.
        """
        self._owner.call(self._remove, served)

    def _remove(self, served: Served) -> None:
        if served.adapter_id:
            self._call("autophage_remove_adapter", served.adapter_id)
        elif served.base is not None:
            self._bases.let_go(served.base)

    def canary(self, served: Served, prompts: Sequence[Sequence[int]]) -> list[Completion]:
        """Return a sampled continuation of each prompt of token ids, with its log-probs.

        The trainer compares them with its own. Greedy tokens would not do. Those of a confident model have log-probs
        near 0 under any adapter.
        """
        from vllm import SamplingParams

        tokens = CANARY_TOKENS[self._dtype]
        asked = [
            Asked(
                served,
                list(prompt),
                SamplingParams(max_tokens=tokens, ignore_eos=True, logprobs=0, seed=index, detokenize=False),
            )
            for index, prompt in enumerate(prompts)
        ]
        completions = self._run(asked, [0] * len(asked), lambda *_: None, observe=True)
        require_agreement(completions)
        return completions

    def sample(self, jobs: Sequence[Job], ended: Ended, *, observe: bool = True) -> list[list[Completion]]:
        """Return one document for each request, by job and in the order of the requests.

        All requests of a call enter the engine between the same two steps. They and their adapters keep the order
        given. A call that runs alone gives the same bits whenever it is made.

        Args:
            ended: Called for each document as soon as it ends.
            observe: Record statistics of every token. They never change the tokens.
        """
        asked = [
            Asked(job.served, request.prompt_ids, sampling(request, request.decoding or job.decoding))
            for job in jobs
            for request in job.requests
        ]
        owners = [number for number, job in enumerate(jobs) for _ in job.requests]
        documents = iter(self._run(asked, owners, ended, observe=observe))
        return [[next(documents) for _ in job.requests] for job in jobs]

    def _run(self, asked: Sequence[Asked], owners: list[int], ended: Ended, *, observe: bool) -> list[Completion]:
        batch = self._owner.call(self._submit, asked, owners, ended, observe=observe)
        while not batch.finished:
            self._owner.call(self._step_until, batch)
        self.rest()
        return batch.result()

    def _step_until(self, batch: Batch) -> None:
        """Take steps until a batch is finished or another thread wants the engine."""
        while not batch.finished:
            self._step()
            if self._owner.wanted:
                return

    def prove(self, seconds: float = 0.0) -> bool:
        """Make the engine write a token, which proves that it lives. Returns True if the token is of a requested document.

        An engine at work must write a token of its documents within `seconds`. A further request would change the batch, and
        with it the last bits of every document. An idle engine is asked for a token of its own.

        Raises:
            EngineDeadError: The engine takes steps and writes nothing for `seconds`. An engine that takes none never returns.
        """
        deadline, steps = time.monotonic() + seconds, 0
        while True:
            if (wrote := self._owner.call(self._step_and_look)) is None:
                break
            if wrote:
                return True
            steps += 1
            if time.monotonic() > deadline:
                raise EngineDeadError(f"vLLM took {steps} steps in {seconds:.0f} s and wrote no token")
        self._write_one()
        return False

    def _step_and_look(self) -> bool | None:
        """Take a step of an engine at work. Return True if it wrote or ended; None for an idle engine."""
        if not self._open:
            return None
        before = self._written()
        self._step()
        return self._written() != before or not self._open

    def _write_first(self) -> None:
        """Write a token, which shows that every layer has its kernels. Raise vLLM's own error if one has none."""
        try:
            self._write_one()
        except EngineDeadError as failure:
            raise failure.__cause__ or failure from None

    def _write_one(self) -> None:
        from vllm import SamplingParams

        params = SamplingParams(max_tokens=1, temperature=0.0, ignore_eos=True, detokenize=False)
        asked = [Asked(Served("", 0, "", self._bases.live), [0], params)]
        self._run(asked, [0], lambda *_: None, observe=False)

    def _written(self) -> int:
        """Return the number of tokens that the recording worker has seen since it began to record."""
        return sum(self._engine.collective_rpc("autophage_written"))

    def rest(self) -> None:
        """Move the weights to the host and drop the KV cache until the next call.

        Nothing happens where sampler and trainer do not take turns on a GPU, or while requests run.
        """
        self._owner.call(self._rest)

    def _rest(self) -> None:
        if self._sleeps and not self._asleep and not self._open:
            self._engine.sleep(1)
            self._asleep = True

    def _wake(self) -> None:
        if self._asleep:
            self._engine.wake_up()
            self._asleep = False

    def _submit(self, asked: Sequence[Asked], owners: list[int], ended: Ended, *, observe: bool) -> Batch:
        """Wake the engine, submit every request and return their batch. `owners` holds the job number of each request.

        Requests on another base, or observed differently, finish first: one step uses one base.
        """
        self._wake()
        bases = {one.served.base for one in asked}
        if len(bases) > 1:
            raise ValueError("the models of one batch must share a base: every request of a step is computed with it")
        while self._open and (observe, bases) != (self._observing, {self._bases.live}):
            self._step()
        adapters = {one.served.adapter_id: one.served for one in asked if one.served.adapter_id}
        if adapters and (missing := sorted(set(adapters) - set(self._call("autophage_adapters")))):
            raise SwapError(
                f"{adapters[missing[0]].name}: is not in the sampler; a request for it would stop the engine"
            )
        if not self._open and asked:
            self._prepare(list(adapters), next(iter(bases)), observe=observe)
        batch = Batch(owners, ended)
        for index, one in enumerate(asked):
            self._window.add(Place(batch, index, one))
        self._let_in()
        return batch

    def _let_in(self) -> None:
        """Submit waiting requests to the engine while there is room."""
        from vllm.lora.request import LoRARequest

        while (place := self._window.next()) is not None:
            one = place.asked
            request_id = str(self._next_request)
            self._next_request += 1
            # The path is never read, as the adapter is in memory. It is unique, because vLLM's caches use it as a key.
            path = f"/memory/{one.served.name}"
            lora = LoRARequest(one.served.name, one.served.adapter_id, path) if one.served.adapter_id else None
            prompted = {"prompt_token_ids": one.prompt_ids}
            self._open[request_id] = place
            added = self._engine.add_request(request_id, prompted, one.params, lora_request=lora)
            place.batch.request_ids[place.number] = added

    def _prepare(self, adapter_ids: list[int], base: str | None, *, observe: bool) -> None:
        """Prepare an engine without requests for a batch: base weights, adapters and the recording of statistics."""
        self._bases.switch(base)
        if adapter_ids:
            self._call("autophage_arrange", adapter_ids)
        self._records = []
        if observe:
            self._call("autophage_observe")
        self._observing = observe

    def _step(self) -> None:
        """Take one step of the engine, and collect the documents that end.

        A failed step leaves requests that never end. Unless memory ran out, the engine is not used again.
        """
        if self._failure is not None:
            raise EngineDeadError(f"vLLM failed in another request: {self._failure}") from self._failure
        try:
            outputs = self._engine.step()
        except Exception as error:
            self._recover(error)
            return
        ended = {}
        for output in outputs:
            if output.finished:
                batch, index, _ = self._open.pop(output.request_id)
                batch.take(index, completion(output.outputs[0]))
                ended[id(batch)] = batch
        if finished := [batch for batch in ended.values() if batch.finished]:
            self._join(finished)
        self._let_in()
        if self._open and not self._engine.has_unfinished_requests():
            self._failure = EngineDeadError(f"vLLM ended without {len(self._open)} of the documents it was asked for")
            raise self._failure

    def _recover(self, error: Exception) -> None:
        """Handle a failed step. Out of memory halves the requests that run at once. Other errors end the engine."""
        try:
            if not (self._recovers and out_of_memory(error)):
                raise error
            self._engine.abort_request(self._window.shrink())
            self._call("autophage_forget_step")
            self._drain()
            self._let_in()
        except AutophageError as failure:  # another engine would fail the same way
            self._failure = failure
            raise
        except Exception as failure:
            self._failure = failure
            raise EngineDeadError(f"vLLM failed: {type(failure).__name__}: {failure}") from failure

    def _drain(self) -> None:
        """Take the steps that vLLM queued before memory ran out. Under async scheduling their failures come back later."""
        for _ in range(self._engine.vllm_config.max_concurrent_batches):
            try:
                self._engine.step()
            except Exception as late:
                if not out_of_memory(late):
                    raise

    @property
    def _open(self) -> dict[str, Place]:
        """The requests in the engine, by request id."""
        return self._window.open

    def on_engine(self, work: Callable[[Any], T]) -> T:
        """Call `work` with vLLM's engine, in the thread that owns it. For measurements of vLLM itself."""
        return self._owner.call(work, self._engine)

    def notes(self) -> list[str]:
        """Return the new messages for the user; none if nothing happened."""
        note, self._window.note = self._window.note, ""
        return [note] if note else []

    def _join(self, finished: Sequence[Batch]) -> None:
        """Join the record of token statistics with the finished batches.

        The record's rows of other batches are kept.
        """
        if not self._observing:
            return
        others = {request_id for batch in self._window.unfinished() for request_id in batch.request_ids.values()}
        drained = self._engine.collective_rpc("autophage_observed", args=(bool(others),))
        record = Record.joined([*self._records, Record.from_bytes(next(data for data in drained if data is not None))])
        self._records = [record.only(others)] if others else []
        for batch in finished:
            batch.join(record)

    def _call(self, method: str, *args: Any) -> Any:
        """Run a method of the worker extension in every worker. Return the first answer: all are equal."""
        return self._engine.collective_rpc(method, args=args)[0]
