"""The two Ray actors of a cell: one is the trainer, one the sampler.

Each is a thin shell. It sends its process's output to a log file. It keeps a progress counter that can be read while it
works. It calls `stages.Workbench` or `sampler.engine.Sampler`. The two actors interact only through the driver.
"""

from __future__ import annotations

import faulthandler
import fcntl
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autophage.cluster.stacks import DUMP_SIGNAL
from autophage.data.late import LateCorpus
from autophage.data.mix import AnySamples
from autophage.host import foreign_variables
from autophage.host.freed_memory import keep_freed_memory
from autophage.plan.light import SampledTokens
from autophage.progress import Meter, Progress
from autophage.recipe.arms import expand
from autophage.recipe.schema import Recipe
from autophage.store.fault_points import reach

if TYPE_CHECKING:
    from autophage.plan.light import Light
    from autophage.sampler.protocol import Completion, Decoding, EngineSettings, Request, Served
    from autophage.store.canary import CanaryRecord
    from autophage.store.corpus import Sample
    from autophage.store.messages import Measured, TrainingRecord
    from autophage.store.weights import Weights


STDERR = 2


class Shell:
    """Base of both actors: a log file in place of stdout and stderr, stack dumps on a signal, and a progress counter."""

    def __init__(self, log: str) -> None:
        foreign_variables.leave_behind()
        keep_freed_memory()
        _redirect(Path(log))
        _tell_stacks()
        self._meter = Meter()

    def whereabouts(self) -> tuple[str, int]:
        """Return the id of this process's Ray node, and its pid."""
        import ray

        return ray.get_runtime_context().get_node_id(), os.getpid()

    def progress(self, key: str) -> Progress:
        """Return the progress of the work `key`. A separate thread answers while the work continues."""
        return self._meter.progress

    def notes(self) -> list[str]:
        """Return the new messages for the user; none by default."""
        return []


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Wait until no other sampler starts on this process's GPU. On a CPU nothing happens.

    vLLM measures free memory as it starts, and refuses to start if another process frees some meanwhile.
    """
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if not gpus:
        yield
        return
    place = Path(
        tempfile.gettempdir(), f"autophage-start-{os.getuid()}-{gpus.replace(',', '-').replace('/', '-')}.lock"
    )
    with place.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class TrainerActor(Shell):
    """The trainer of a cell. It holds the model and the stages that use it."""

    def __init__(self, log: str, recipe: str) -> None:
        super().__init__(log)
        self._recipe = Recipe.model_validate_json(recipe)
        self._arms = {arm.name: arm for arm in expand(self._recipe)}
        self._late: LateCorpus | None = None
        self._log = Path(log)

    def prepare(self) -> dict[str, Any]:
        """Read the source, train or find the base model, and load it.

        Return the facts of `stages.facts.model_facts`.
        """
        from autophage.trainer.group import keep_first_gpu

        reach("trainer", "prepare")

        ranks = self._recipe.cluster.trainer_gpus
        # Before the imports below, any of which may query CUDA: the first query fixes the visible devices.
        gpus = keep_first_gpu() if ranks > 1 else []

        from autophage.data.build import read_source
        from autophage.stages.facts import model_facts, model_path
        from autophage.stages.sharded import ShardedBench
        from autophage.stages.workbench import Workbench

        source = read_source(self._recipe)
        path = model_path(self._recipe, source, self._meter)
        self._meter = Meter()
        self._bench: Workbench | ShardedBench = (
            ShardedBench(self._recipe, path, ranks, gpus, self._log)
            if ranks > 1
            else Workbench(self._recipe, source, path, inspection=self._log.parent)
        )
        if isinstance(self._bench, Workbench):
            self._bench.limit_memory(list(self._arms.values()))
        return model_facts(self._recipe, path, source, self._bench.resident)

    def light(self) -> Light | None:
        """Measure the speed of light of the model on this device. None where sampler or trainer has several GPUs."""
        return self._bench.light()

    def notes(self) -> list[str]:
        return self._bench.notes()

    def engine_settings(self) -> EngineSettings:
        return self._bench.engine_settings(list(self._arms.values()))

    def canary_prompts(self) -> list[list[int]]:
        return self._bench.canary_prompts

    def orders(self, arm: str, generation: int) -> tuple[list[Request], Decoding]:
        """Return the requests to model `generation` of an arm, and the decoding of its documents."""
        reach("trainer", "orders")
        return self._bench.requests(self._arms[arm], generation), self._bench.decoding(self._arms[arm])

    def base_weights(self, arm: str) -> Weights:
        reach("trainer", "base_weights")
        return self._bench.base_weights(self._arms[arm])

    def fit(
        self,
        arm: str,
        generation: int,
        start: Weights | None,
        corpora: Mapping[int, Sequence[Sample]],
        optimizer: bytes | None,
        *,
        early: bool = False,
    ) -> tuple[TrainingRecord, Weights, bytes | None]:
        """Train model `generation` of an arm from `start`, or from the base model where it is None.

        Return the record of the training, the weights and the optimizer's state. Each is an object of its own in Ray's
        store, so that weights need not pass through the driver.

        Args:
            corpora: Committed samples by generation.
            optimizer: AdamW state of the previous generation as bytes, if the recipe carries it.
            early: The newest corpus is still being written. It is not among `corpora`, and arrives through `feed`.
        """
        reach("trainer", "fit")
        self._meter = Meter(_step_ended)
        start = start or self.base_weights(arm)
        known: dict[int, AnySamples] = dict(corpora)
        if early:
            # Answers to questions follow the documents of the corpus. They are not trained on.
            requests = self._bench.requests(self._arms[arm], generation - 1)[: self._arms[arm].recipe.sample.written]
            self._late = LateCorpus([request.prompt_ids for request in requests])
            known[generation - 1] = self._late
        try:
            trained = self._bench.fit(self._arms[arm], generation, start, known, self._meter, optimizer)
            return trained.record, trained.weights, trained.optimizer
        finally:
            self._late = None
            self._give_back()

    def feed(self, documents: Mapping[int, list[int]]) -> bool:
        """Take further documents of the corpus that `fit` trains on early: token ids by place.

        Return False before `fit` has begun.
        """
        late = self._late
        if late is not None:
            late.put(documents)
        return late is not None

    def check_canary(
        self, weights: Weights, completions: Sequence[Completion], previous: Weights | None
    ) -> CanaryRecord:
        reach("trainer", "check_canary")
        try:
            return self._bench.check_canary(weights, completions, previous)
        finally:
            self._give_back()

    def measure(
        self, arm: str, generation: int, weights: Weights, previous: Weights | None, completions: Sequence[Completion]
    ) -> Measured:
        reach("trainer", "measure")
        self._meter = Meter(_step_ended)
        try:
            return self._bench.measure(self._arms[arm], generation, weights, previous, completions, self._meter)
        finally:
            self._give_back()

    def _give_back(self) -> None:
        """Free cached GPU memory where sampler and trainer take turns on a device."""
        if self._recipe.takes_turns:
            from autophage.host.devices import give_back_memory

            give_back_memory()


class SamplerActor(Shell):
    """The sampler of a cell. It holds the engine that writes documents."""

    def __init__(self, log: str, beams: bool = False) -> None:
        super().__init__(log)
        self._sampling: dict[str, Meter] = {}
        self._batches: dict[str, SampledTokens] = {}
        self._written: dict[str, dict[int, list[int]]] = {}
        if not beams:
            # The import of vLLM takes as long as the trainer's load of its model. Both happen at once.
            import vllm  # noqa: F401

    def start(self, settings: EngineSettings) -> None:
        """Start the engine and let it write one token."""
        from autophage.stages.beam import sampler_for

        reach("sampler", "start")
        with one_at_a_time():
            self._sampler = sampler_for(settings)
            self._sampler.prove()
            self._sampler.rest()

    def prove(self, seconds: float) -> bool:
        """Prove that the engine writes tokens. Return True if it writes requested documents, False if it is idle.

        `seconds` is the longest silence of an engine at work.
        """
        return self._sampler.prove(seconds)

    def install(self, label: str, weights: Weights) -> Served:
        reach("sampler", "install")
        return self._sampler.install(label, weights)

    def remove(self, served: Served) -> None:
        reach("sampler", "remove")
        self._sampler.remove(served)

    def canary(self, served: Served, prompts: Sequence[Sequence[int]]) -> list[Completion]:
        reach("sampler", "canary")
        return self._sampler.canary(served, prompts)

    def sample(
        self, keys: Sequence[str], served: Sequence[Served], *orders: tuple[Sequence[Request], Decoding]
    ) -> list[Completion] | list[list[Completion]]:
        """Sample one batch of several models' documents. Return them by job, or bare for a lone job.

        Calls may overlap, each in a thread of its own. Their requests share the engine's queue.

        Args:
            keys: Name of each job, for `progress` and `written`.
            served: The model of each job.
            orders: The requests of each job, and their decoding.
        """
        from autophage.sampler.protocol import Job

        reach("sampler", "sample")
        jobs = [Job(one, *order) for one, order in zip(served, orders, strict=True)]
        for key, job in zip(keys, jobs, strict=True):
            self._sampling[key], self._written[key] = Meter(total=len(job.requests)), {}

        def ended(job: int, place: int, token_ids: list[int]) -> None:
            reach("sampler", "ended")
            self._sampling[keys[job]].advance(tokens=len(token_ids))
            self._written[keys[job]][place] = token_ids

        documents = self._sampler.sample(jobs, ended)
        reach("sampler", "sampled")
        batch = _tokens_of([job.requests for job in jobs], documents)
        self._batches.update(dict.fromkeys(keys, batch))
        for key in keys:
            del self._sampling[key], self._written[key]
        return documents[0] if len(documents) == 1 else documents

    def notes(self) -> list[str]:
        return self._sampler.notes()

    def batch(self, key: str) -> SampledTokens | None:
        """Return the tokens of the ended call that job `key` was part of, once. None if there was none."""
        return self._batches.pop(key, None)

    def written(self, key: str) -> dict[int, list[int]]:
        """Return the token ids of the documents of job `key` that have ended, by their places.

        There are none after the job.
        """
        return dict(self._written.get(key, {}))

    def progress(self, key: str) -> Progress:
        meter = self._sampling.get(key)
        return Progress() if meter is None else meter.progress


def _tokens_of(requests: Sequence[Sequence[Request]], documents: Sequence[Sequence[Completion]]) -> SampledTokens:
    """Count the tokens of a call of the sampler, over its jobs."""
    return SampledTokens(
        sum(map(len, documents)),
        sum(len(request.prompt_ids) for job in requests for request in job),
        sum(len(document.token_ids) for job in documents for document in job),
    )


def _step_ended(_: Progress) -> None:
    reach("trainer", "step")


def _redirect(log: Path) -> None:
    """Append stdout and stderr of this process to the file `log`, those of native libraries included."""
    log.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(descriptor, 1)
    os.dup2(descriptor, STDERR)
    os.close(descriptor)


def _tell_stacks() -> None:
    """Write the stacks of all threads to stderr at a signal and at a crash.

    The handler writes to a file descriptor outside of the interpreter, so a thread that never releases the lock cannot stop it.
    """
    faulthandler.enable(file=STDERR)
    faulthandler.register(DUMP_SIGNAL, file=STDERR, all_threads=True)
