"""Faults that are put into `hooks.v2_rows`. The comparisons of a scenario must find each.

The same steps are recorded by one recorder for each fault, beside the true one. So every fault meets every preemption.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from autophage.errors import RunError
from autophage.sampler import hooks, recorder
from autophage.sampler.batch import Batch
from autophage.sampler.protocol import Completion
from autophage.sampler.record import Record
from autophage.sampler.recorder import Recorder, Rows

Mutation = Callable[[Rows, Any, Any], Rows]
"""From the true rows, the runner and the step's batch to wrong rows."""


def _slots(batch: Any) -> np.ndarray:
    found: np.ndarray = batch.idx_mapping_np[: batch.num_reqs]
    return found


def _lengths(batch: Any) -> np.ndarray:
    found: np.ndarray = batch.seq_lens_cpu_upper_bound[: batch.num_reqs].numpy()
    return found


def _from_prefill(rows: Rows, runner: Any, batch: Any) -> Rows:
    return rows._replace(positions=_lengths(batch) - runner.req_states.prefill_len.np[_slots(batch)])


def _rows_as_slots(rows: Rows, runner: Any, batch: Any) -> Rows:
    return rows._replace(positions=_lengths(batch) - runner.req_states.prompt_len.np[: batch.num_reqs])


def _valid_after_prompt(rows: Rows, runner: Any, batch: Any) -> Rows:
    return rows._replace(valid=_lengths(batch) >= runner.req_states.prompt_len.np[_slots(batch)])


MUTATIONS: dict[str, Mutation] = {
    "a position too late": lambda rows, *_: rows._replace(positions=rows.positions + 1),
    "every row is valid": lambda rows, *_: rows._replace(valid=np.ones_like(rows.valid)),
    "requests in reverse": lambda rows, *_: rows._replace(request_ids=rows.request_ids[::-1]),
    # After a preemption, what is read has output in it.
    "positions from the end of what is read": _from_prefill,
    "rows taken for slots": _rows_as_slots,
    # A preempted request reads its output again, and may do so in pieces.
    "valid once the prompt is read": _valid_after_prompt,
}


class Mutants:
    """The findings of wrong hooks. `documents` has the documents of each mutation, or the error that it ended in."""

    def __init__(self) -> None:
        self.documents: dict[str, list[Completion] | RunError] = {}
        self._step: tuple[Any, Any] = (None, None)
        self._records: dict[str, Record] = {}

    def install(self) -> None:
        """Record the next batches with each mutation too. The true record is as before."""
        mutants, v2_rows, join = self, hooks.v2_rows, Batch.join

        class Recorders(Recorder):
            def __init__(self, rows: int) -> None:
                super().__init__(rows)
                self.mutated = {name: Recorder(rows) for name in MUTATIONS}

            def before(self, logits_RV: torch.Tensor) -> None:
                super().before(logits_RV)
                for one in self.mutated.values():
                    one.before(logits_RV)

            def after(self, token_R1: torch.Tensor, rows: Callable[[], Rows]) -> None:
                found = rows()
                super().after(token_R1, lambda: found)
                for name, one in self.mutated.items():
                    wrong = MUTATIONS[name](found, *mutants._step)
                    one.after(token_R1, lambda wrong=wrong: wrong)  # type: ignore[misc]  # its default has its type

            def finish(self) -> Record:
                mutants._records = {name: one.finish() for name, one in self.mutated.items()}
                return super().finish()

        def noted_rows(runner: Any, batch: Any) -> Rows:
            self._step = runner, batch
            return v2_rows(runner, batch)

        def joined(batch: Batch, record: Record) -> None:
            for name, wrong in self._records.items():
                copy = replace(batch, done=dict(batch.done))
                join(copy, wrong)
                try:
                    self.documents[name] = copy.result()
                except RunError as error:
                    self.documents[name] = error
            join(batch, record)

        vars(recorder)["Recorder"] = Recorders
        vars(hooks)["v2_rows"] = noted_rows
        Batch.join = joined  # type: ignore[method-assign, assignment]  # it joins wrong records too

    def seen(self, worst: Callable[[Sequence[Completion]], dict[str, float]], tolerance: float) -> dict[str, str]:
        """Return what gives each mutation away, by its name: an error, or differences beyond `tolerance`."""
        seen = {}
        for name, found in self.documents.items():
            if isinstance(found, RunError):
                seen[name] = str(found)
            elif max((differences := worst(found)).values()) > tolerance:
                seen[name] = str(differences)
        return seen
