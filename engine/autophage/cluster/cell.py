"""A cell: one sampler, one trainer, and what they have made so far of the generations their arms are at.

Starts stages on the two actors and takes their results. Everything older is read back from committed files, so going on
after a crash is the same code as going on at all. An actor that died is started again here; whether it may be, and what is
to be done again, is decided elsewhere. Does not know which stage is next (`scheduler`), what other cells do or how a
generation is committed (`driver`).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from autophage.cluster.calls import Actor, ActorLostError, hung, latest_progress, lost
from autophage.cluster.deadlines import Deadlines
from autophage.cluster.making import Begun, Finished, Making, Running, Seen, Starting, key_of, speed_of, words_for
from autophage.cluster.placement import Actors
from autophage.cluster.scheduler import Side, Stage, Work
from autophage.data.mix import needed_corpora
from autophage.errors import EngineDeadError, SwapError, UserError
from autophage.recipe.arms import Arm
from autophage.stages.facts import DECISIVE
from autophage.store.commit import committed_optimizer, committed_samples, committed_weights
from autophage.store.fault_points import reach
from autophage.store.rundir import RunDirectory


class Cell:
    def __init__(
        self,
        actors: Actors,
        run: RunDirectory,
        arms: Mapping[str, Arm],
        cohorts: Sequence[Sequence[str]],
        begun: Begun,
        deadlines: Deadlines,
    ) -> None:
        self.name = actors.name
        self.running: dict[Any, Running] = {}
        self.starting: dict[Any, Starting] = {}
        self._actors, self._run, self._arms = actors, run, arms
        self._cohorts, self._begun, self._deadlines = cohorts, begun, deadlines
        self._making: dict[tuple[str, int], Making] = {}
        self._companions: dict[Work, list[Any]] = {}

    @property
    def _sampler(self) -> Any:
        return self._actors.sampler.handle

    @property
    def _trainer(self) -> Any:
        return self._actors.trainer.handle

    def words(self, side: Side) -> str:
        return f"the {self._actors.of[side].name}"

    @property
    def lost_machine(self) -> bool:
        return self._actors.lost_machine()

    def start(self, works: Sequence[Work]) -> None:
        """Start these stages, none of which is a commit; those of stage SAMPLE make one batch."""
        now = time.monotonic()
        sampling = [work for work in works if work.stage is Stage.SAMPLE]
        begin = {Stage.TRAIN: self._train, Stage.SWAP: self._swap, Stage.MEASURE: self._measure}
        for work in works:
            reach("call", work)
            if work.stage is not Stage.SAMPLE:
                self.running[begin[work.stage](work)] = Running(work, now, now)
        if sampling:
            for work, reference in zip(sampling, self._sample(sampling), strict=True):
                self.running[reference] = Running(work, now, now)

    def finish(self, reference: Any) -> Finished:
        """Take the result of a stage that has ended.

        Raises:
            AutophageError: as raised in the actor; `ActorLostError` where it is gone.
        """
        running = self.running.pop(reference)
        work = running.work
        reach("finish", work)
        making = self._made(work)
        result = self._result(work, making, reference)
        reach("result", work)
        tokens = 0
        if work.stage is Stage.TRAIN:
            making.weights, tokens, making.steps = result.weights, result.tokens, result.steps
            making.optimizer, making.trained = result.optimizer, result.metrics
        elif work.stage is Stage.SWAP:
            making.canary = result
            making.served = self._get(making.installing, self._actors.sampler)
        elif work.stage is Stage.SAMPLE:
            making.answers = result
            tokens = sum(len(answer.token_ids) for answer in result)
            if making.unfed is not None:
                making.unfed = self._corpus_of(work, {place: one.token_ids for place, one in enumerate(result)})
                self._feed(making)
            for served in [making.served, *self._companions.pop(work, [])]:
                self._get(self._sampler.remove.remote(served), self._actors.sampler)
            making.installing = None
        else:
            making.samples, making.metrics, making.answered = result
        seconds = time.monotonic() - running.started
        making.speed[work.stage] = speed_of(work.stage, seconds, tokens)
        self._deadlines.measured(work, seconds)
        actor = self._actor(work.stage)
        notes = actor.get(actor.handle.notes.options(concurrency_group="watch").remote(), self._deadlines.call)
        return Finished(work, seconds, tokens, notes)

    def made(self, work: Work) -> Making:
        """What was made of the arm's generation, to be committed; forgotten here."""
        return self._making.pop((work.arm, work.generation))

    def _made(self, work: Work) -> Making:
        return self._making.setdefault((work.arm, work.generation), Making())

    def look(self) -> list[Seen]:
        """The running stages whose progress has changed since the last look.

        Raises:
            HungError: a stage has stopped moving, an engine writes nothing, or an actor does not come up.
        """
        now = time.monotonic()
        seen = []
        for running in self.running.values():
            work = running.work
            self._relay(work)
            actor = self._actor(work.stage)
            progress = latest_progress(actor, key_of(work), running.seen)
            if progress != running.seen:
                running.seen, running.last, running.proved = progress, now, False
                if progress.total:
                    rate = progress.tokens / max(now - running.started, 1e-9)
                    seen.append(Seen(work, progress.done, progress.total, round(rate, 1)))
            elif self._waits(work):
                running.last = now
            else:
                self._judge(running, now - running.last)
        for starting in self.starting.values():
            if now - starting.since > self._deadlines.call:
                raise hung(self._actors.of[starting.side], f"did not come up within {self._deadlines.call:.0f} s")
        return seen

    def _judge(self, running: Running, silent: float) -> None:
        """Give up an actor whose stage has been silent for too long; before that, ask a sampler's engine for a token."""
        work = running.work
        if silent > self._deadlines.hard(work):
            raise hung(self._culprit(work), f"made no progress for {silent:.0f} s in {words_for(work)}")
        if work.stage is Stage.SAMPLE and silent > self._deadlines.soft(work) and not running.proved:
            seconds = self._deadlines.token
            probe = self._sampler.prove.options(concurrency_group="probe").remote(seconds / 2)
            writes = self._get(probe, self._actors.sampler, seconds, f"wrote no token in {words_for(work)}")
            if writes:  # documents that end together, after hours, are silent until then
                running.last = time.monotonic()
            running.proved = not writes

    def _waits(self, work: Work) -> bool:
        """Whether this stage may have to wait for a batch of the sampler's, and is as slow as that is.

        Training that began early waits for its corpus, and a model that is swapped in may need the batch before to end.
        """
        sampling = [running.work for running in self.running.values() if running.work.stage is Stage.SAMPLE]
        corpus = Work(work.arm, work.generation - 1, Stage.SAMPLE)
        return (work.stage is Stage.TRAIN and corpus in sampling) or (work.stage is Stage.SWAP and bool(sampling))

    def _culprit(self, work: Work) -> Actor:
        """Whom a silent stage waits for; a swap goes through the sampler first."""
        import ray

        if work.stage is Stage.SWAP and not ray.wait([self._made(work).canaries], timeout=0)[0]:
            return self._actors.sampler
        return self._actor(work.stage)

    def side_of(self, gone: ActorLostError) -> frozenset[Side]:
        """The side whose actor this is about: both where Ray does not say, none where it has been replaced meanwhile."""
        if gone.actor_id in self._actors.former:
            return frozenset()
        found = frozenset(side for side, actor in self._actors.of.items() if actor.id == gone.actor_id)
        return found or frozenset(Side)

    def lose(self, sides: frozenset[Side], gone: Iterable[Work]) -> None:
        """Let go of works that came to nothing with the actors of `sides`, and start those actors again.

        `starting` holds a reference for each, which `regain` takes when it is ready.
        """
        works = set(gone)
        self.running = {reference: one for reference, one in self.running.items() if one.work not in works}
        self.starting = {reference: one for reference, one in self.starting.items() if one.side not in sides}
        for side in sides:
            self._actors.replace(side)
            handle = self._actors.of[side].handle
            up = handle.prepare.remote() if side is Side.TRAINER else handle.start.remote(self._begun.settings)
            self.starting[up] = Starting(side, time.monotonic())
        for work in works:
            if (corpus := self._making.get((work.arm, work.generation - 1))) is not None:
                corpus.unfed = None
        for work in works:
            companions, making = self._companions.pop(work, []), self._making.get((work.arm, work.generation))
            if Side.SAMPLER not in sides:
                self._forget(making, companions)

    def regain(self, reference: Any) -> Side:
        """The side whose actor is up again.

        Raises:
            UserError: the trainer finds another model or source than before.
        """
        side = self.starting.pop(reference).side
        facts = self._get(reference, self._actors.of[side])
        if side is Side.TRAINER and (
            changed := [name for name in DECISIVE if facts[name] != self._begun.facts.get(name)]
        ):
            raise UserError(
                f"the {self._actors.trainer.name} was started again and finds another model or source than before "
                f"({', '.join(changed)} differ). Put back what was there; the same command goes on after the last commit."
            )
        return side

    def _forget(self, making: Making | None, companions: Sequence[Any]) -> None:
        """Take what was installed for a work out of a sampler that lives on."""
        if making is not None and making.installing is not None:
            self._roll_back(making)
        for served in companions:
            self._get(self._sampler.remove.remote(served), self._actors.sampler)

    def _train(self, work: Work) -> Any:
        arm = self._arms[work.arm].recipe
        before = self._making.get((work.arm, work.generation - 1))
        needed = [one for one in needed_corpora(arm, work.generation) if before is None or one < work.generation - 1]
        corpora = {generation: committed_samples(self._run, work.arm, generation) for generation in needed}
        start = optimizer = None
        if before is not None:
            before.unfed = {}
            start, optimizer = before.weights, before.optimizer
        elif arm.train.chain == "cumulative":
            start = committed_weights(self._run, work.arm, work.generation - 1)
            if arm.train.optimizer == "carried":
                optimizer = committed_optimizer(self._run, work.arm, work.generation - 1)
        start = start if arm.train.chain == "cumulative" else None
        fit = self._trainer.fit
        return fit.remote(work.arm, work.generation, start, corpora, optimizer, early=before is not None)

    def _relay(self, work: Work) -> None:
        """Where the next model's training began early, hand it what has been written meanwhile."""
        corpus = work.generation if work.stage is Stage.SAMPLE else work.generation - 1
        making = self._making.get((work.arm, corpus)) if work.stage in (Stage.SAMPLE, Stage.TRAIN) else None
        if making is None or making.unfed is None:
            return
        if work.stage is Stage.SAMPLE:
            watch = self._sampler.written.options(concurrency_group="watch")
            making.unfed = self._corpus_of(work, self._get(watch.remote(key_of(work)), self._actors.sampler))
        self._feed(making)

    def _corpus_of(self, work: Work, written: Mapping[int, list[int]]) -> dict[int, list[int]]:
        """Of what is written for an arm, by place, the documents of its corpus: they come before answers to questions."""
        count = self._arms[work.arm].recipe.sample.written
        return {place: token_ids for place, token_ids in written.items() if place < count}

    def _feed(self, making: Making) -> None:
        if making.unfed:
            watch = self._trainer.feed.options(concurrency_group="watch")
            if self._get(watch.remote(making.unfed), self._actors.trainer):
                making.unfed = {}

    def _swap(self, work: Work) -> Any:
        """Install, ask the canary, compare: a chain that the actors walk without the driver."""
        making = self._made(work)
        trainer, sampler = self._trainer, self._sampler
        if work.generation == 0:
            making.weights = self._get(trainer.base_weights.remote(work.arm), self._actors.trainer)
        making.installing = sampler.install.remote(key_of(work), making.weights)
        making.orders = trainer.orders.remote(work.arm, work.generation)
        making.canaries = sampler.canary.remote(making.installing, self._begun.canary_prompts)
        return trainer.check_canary.remote(making.weights, making.canaries)

    def _sample(self, works: Sequence[Work]) -> list[Any]:
        """One call for the batch: its works, and the arms of their cohort that are further already.

        Those are sampled again as they were, and dropped: after a restart the batch must be the one that it would have
        been, or its last bits would differ.
        """
        members = next((cohort for cohort in self._cohorts if works[0].arm in cohort), [work.arm for work in works])
        own = {work.arm: self._made(work) for work in works}
        jobs = []
        for arm in members:
            if arm in own:
                jobs.append((f"{arm}@{works[0].generation}", own[arm].served, own[arm].orders))
            else:
                jobs.append(self._companion(arm, works[0]))
        call = self._sampler.sample.options(num_returns=len(jobs), concurrency_group="sample")
        keys, served, orders = zip(*jobs, strict=True)
        references = call.remote(list(keys), list(served), *orders)
        references = [references] if len(jobs) == 1 else references
        return [references[keys.index(key_of(work))] for work in works]

    def _companion(self, arm: str, beside: Work) -> tuple[str, Any, Any]:
        key = f"{arm}@{beside.generation}"
        weights = committed_weights(self._run, arm, beside.generation)
        served = self._get(self._sampler.install.remote(key, weights), self._actors.sampler)
        self._companions.setdefault(beside, []).append(served)
        return key, served, self._trainer.orders.remote(arm, beside.generation)

    def _measure(self, work: Work) -> Any:
        making = self._made(work)
        previous = committed_weights(self._run, work.arm, work.generation - 1) if work.generation else None
        return self._trainer.measure.remote(work.arm, work.generation, making.weights, previous, making.answers)

    def _result(self, work: Work, making: Making, reference: Any) -> Any:
        try:
            return self._get(reference, self._actor(work.stage))
        except SwapError:
            self._roll_back(making)
            raise

    def _roll_back(self, making: Making) -> None:
        """Let go of an adapter that was installed and is not what it should be; one that was refused is not there."""
        try:
            served = self._get(making.installing, self._actors.sampler)
        except SwapError:
            return
        finally:
            making.installing = None
        self._get(self._sampler.remove.remote(served), self._actors.sampler)

    def _actor(self, stage: Stage) -> Actor:
        return self._actors.sampler if stage is Stage.SAMPLE else self._actors.trainer

    def _get(
        self, reference: Any, actor: Actor, seconds: float | None = None, otherwise: str = "did not answer"
    ) -> Any:
        try:
            return actor.get(reference, self._deadlines.call if seconds is None else seconds, otherwise)
        except EngineDeadError as dead:  # of the sampler, also where the trainer waited for its answer
            sampler = self._actors.sampler
            raise ActorLostError(
                f"the {sampler.name}'s engine is dead: {dead}. Its log: {sampler.log}.", sampler.id
            ) from dead
        except ActorLostError as gone:
            for other in self._actors.of.values():
                if gone.actor_id == other.id != actor.id:
                    raise lost(other, gone.cause) from gone
            raise
