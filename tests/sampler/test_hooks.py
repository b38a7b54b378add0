"""The hook of the V1 runner over a stand-in, what both hooks refuse, and the attributes of the installed vLLM that V1 has.

The stand-in changes the order of rows at every step, reads prompts in pieces and preempts a request. `v2/` runs the V2 runner.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from autophage.errors import RunError
from autophage.sampler import hooks
from autophage.sampler.recorder import Recorder, Rows

VOCABULARY, PROMPT = 11, 6

STEPS = [
    {"a": 6, "b": 4},  # b's prompt is read in pieces
    {"b": 6, "a": 7},
    {"a": 8, "b": 7, "c": 6},
    {"c": 7, "a": 9},  # b is preempted...
    {"b": 5, "c": 8},  # ...and read in again, what it had written included, in pieces; a has ended
    {"c": 9, "b": 8},  # b goes on with its third token
    {"b": 9},
]
"""The requests of each step in the order of their rows, each with its length after the step."""
RESUMED = 4
"""Step at which b comes back. It samples nothing until it has read prompt and output, 8 tokens."""


def config(**changes: Any) -> SimpleNamespace:
    parallel = SimpleNamespace(enable_batch_sharded_sampling=changes.pop("sharded", None))
    values = {"speculative_config": None, "parallel_config": parallel, "use_v2_model_runner": False, **changes}
    return SimpleNamespace(**values)


def sampled(step: int, name: str) -> int:
    return (3 * step + ord(name)) % VOCABULARY


def valid(step: int, name: str, length: int) -> bool:
    return length >= (PROMPT if name != "b" or step < RESUMED else 8)


def expected() -> dict[str, list[int]]:
    """Return the final tokens of each request."""
    found: dict[str, dict[int, int]] = {}
    for step, rows in enumerate(STEPS):
        for name, length in rows.items():
            if valid(step, name, length):
                found.setdefault(name, {})[length - PROMPT] = sampled(step, name)
    return {name: [tokens[at] for at in range(len(tokens))] for name, tokens in found.items()}


def logits_and_tokens(step: int) -> tuple[torch.Tensor, SimpleNamespace]:
    logits = torch.randn(len(STEPS[step]), VOCABULARY, generator=torch.Generator().manual_seed(step))
    tokens = torch.tensor([[sampled(step, name)] for name in STEPS[step]])
    return logits, SimpleNamespace(sampled_token_ids=tokens)


def buffer(values: Any) -> SimpleNamespace:
    return SimpleNamespace(np=np.array(values))


class V1Runner:
    """Stand-in for vLLM's V1 runner. Rows are slots of a persistent batch of eight."""

    def __init__(self) -> None:
        self.vllm_config = config()
        self.step = -1
        self.output = SimpleNamespace()
        self.optimistic_seq_lens_cpu = torch.zeros(8, dtype=torch.int32)
        self.discard_request_mask = buffer([False] * 8)
        self.input_batch = SimpleNamespace(
            num_reqs=0,
            req_ids=[],
            num_prompt_tokens=np.full(8, PROMPT, np.int32),
        )

    def run(self) -> Iterator[int]:
        for self.step, rows in enumerate(STEPS):
            self.input_batch.req_ids = list(rows)
            self.input_batch.num_reqs = len(rows)
            for row, (name, length) in enumerate(rows.items()):
                self.optimistic_seq_lens_cpu[row] = length
                self.discard_request_mask.np[row] = not valid(self.step, name, length)
            logits, self.output = logits_and_tokens(self.step)
            assert self._sample(logits, None) is self.output
            yield self.step

    def _sample(self, logits: torch.Tensor, spec_decode_metadata: None) -> SimpleNamespace:
        logits.zero_()  # in place, as a temperature would be
        return self.output


def v2_runner(**changes: Any) -> SimpleNamespace:
    """Return a V2 runner as far as `attach` looks at it."""
    state = SimpleNamespace(prompt_len=buffer([]), prefill_len=buffer([]))
    values = {"vllm_config": config(use_v2_model_runner=True), "sampler": object(), "req_states": state, **changes}
    return SimpleNamespace(**values)


def test_rows_find_their_requests() -> None:
    recorder = Recorder(8, buffer_bytes=0)
    played = V1Runner()
    detach = hooks.attach(played, recorder)
    assert list(played.run()) == list(range(len(STEPS)))
    detach()
    record = recorder.finish()
    record.require_faultless()
    assert set(record.spans) == set(expected()) == {"a", "b", "c"}
    for name, tokens in expected().items():
        raw = record.statistics(name, tokens)
        assert len(tokens) > 2
        assert (raw.entropy < np.log(VOCABULARY) - 1e-3).all(), "the logits were taken after the sampler zeroed them"


def test_detaching_leaves_the_runner_as_it_was() -> None:
    played = V1Runner()
    for _ in range(2):
        hooks.attach(played, Recorder(8))()
    list(played.run())
    assert "_sample" not in vars(played)


@pytest.mark.parametrize("rows", [hooks.v1_rows, lambda runner: hooks.v2_rows(runner, runner.input_batch)])
def test_a_runner_that_changed_does_not_stop_its_steps(rows: Callable[[Any], Rows]) -> None:
    played, recorder = V1Runner(), Recorder(8)
    del played.optimistic_seq_lens_cpu
    recorder.before(torch.zeros(1, 3))
    recorder.after(torch.zeros(1, 1), lambda: rows(played))
    assert any(name.startswith("AttributeError") for name in recorder.finish().faults)


@pytest.mark.parametrize(
    ("changes", "told"),
    [({"speculative_config": object()}, "speculative decoding"), ({"sharded": True}, "batch-sharded sampling")],
)
@pytest.mark.parametrize("v2", [False, True])
def test_what_cannot_be_recorded_is_refused(changes: dict[str, Any], told: str, v2: bool) -> None:
    played: Any = v2_runner() if v2 else V1Runner()
    played.vllm_config = config(use_v2_model_runner=v2, **changes)
    with pytest.raises(RunError, match=told):
        hooks.attach(played, Recorder(8))


def test_a_runner_without_the_names_is_refused() -> None:
    v1 = V1Runner()
    del v1.discard_request_mask
    with pytest.raises(RunError, match=r"has no discard_request_mask\.np"):
        hooks.attach(v1, Recorder(8))
    with pytest.raises(RunError, match=r"has no req_states\.prompt_len\.np"):
        hooks.attach(v2_runner(req_states=None), Recorder(8))
    with pytest.raises(RunError, match="has no sampler"):
        hooks.attach(v2_runner(sampler=None), Recorder(8))


class TestTheInstalledVllm:
    """The attributes that the V1 hook reads exist in vLLM's source."""

    @pytest.fixture
    def source(self) -> Any:
        found = importlib.util.find_spec("vllm")
        if found is None or found.submodule_search_locations is None:
            pytest.skip("vLLM is not installed")
        root = Path(next(iter(found.submodule_search_locations)))
        return lambda name: ast.parse((root / name).read_text("utf-8"))

    @staticmethod
    def _class(tree: ast.Module, name: str) -> ast.ClassDef:
        return next(node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == name)

    @staticmethod
    def _arguments(owner: ast.ClassDef, method: str) -> list[str]:
        found = next(node for node in owner.body if isinstance(node, ast.FunctionDef) and node.name == method)
        return [argument.arg for argument in found.args.args]

    @staticmethod
    def _own(owner: ast.ClassDef) -> set[str]:
        """Return a class's fields, methods, properties and assigned attributes."""
        found = {node.attr for node in ast.walk(owner) if isinstance(node, ast.Attribute) and _of_self(node)}
        found |= {node.name for node in owner.body if isinstance(node, ast.FunctionDef)}
        return found | {ast.unparse(node.target) for node in owner.body if isinstance(node, ast.AnnAssign)}

    def test_v1(self, source: Any) -> None:
        runner = self._class(source("v1/worker/gpu_model_runner.py"), "GPUModelRunner")
        assert self._arguments(runner, "_sample") == ["self", "logits", "spec_decode_metadata"]
        assert {"optimistic_seq_lens_cpu", "discard_request_mask", "input_batch", "vllm_config"} <= self._own(runner)
        batch = self._class(source("v1/worker/gpu_input_batch.py"), "InputBatch")
        needed = {name.removeprefix("input_batch.") for name in hooks.V1_NEEDS if name.startswith("input_batch.")}
        assert needed <= self._own(batch)

    def test_both(self, source: Any) -> None:
        assert "use_v2_model_runner" in self._own(self._class(source("config/vllm.py"), "VllmConfig"))
        groups = {
            node.name for node in source("distributed/parallel_state.py").body if isinstance(node, ast.FunctionDef)
        }
        assert {"get_pp_group", "get_tp_group"} <= groups


def _of_self(node: ast.Attribute) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id == "self"
