"""Both hooks over stand-ins for vLLM's runners, and a check that the installed vLLM has the attributes they read.

The V2 runner needs a GPU, hence the stand-ins. They change the order of rows at every step, recycle slots, read prompts in
pieces and preempt a request.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from autophage.errors import RunError
from autophage.sampler import hooks
from autophage.sampler.recorder import Recorder

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


class V2Sampler:
    def __init__(self) -> None:
        self.output = SimpleNamespace()

    def __call__(self, logits: torch.Tensor, input_batch: SimpleNamespace) -> SimpleNamespace:
        logits.zero_()
        return self.output


class V2Runner:
    """Stand-in for vLLM's V2 runner. A step's batch points into slots, which are recycled."""

    def __init__(self) -> None:
        self.vllm_config = config(use_v2_model_runner=True)
        self.sampler = V2Sampler()
        self.req_states = SimpleNamespace(prompt_len=buffer([PROMPT] * 4), prefill_len=buffer([0] * 4))

    def run(self) -> Iterator[int]:
        for step, rows in enumerate(STEPS):
            slots = np.array([(ord(name) + step // 3) % 4 for name in rows])
            self.req_states.prefill_len.np[slots] = [8 if name == "b" and step >= RESUMED else PROMPT for name in rows]
            logits, self.sampler.output = logits_and_tokens(step)
            batch = SimpleNamespace(
                num_reqs=len(rows),
                req_ids=list(rows),
                idx_mapping_np=slots,
                seq_lens_cpu_upper_bound=torch.tensor([*rows.values(), 99]),  # padded, as for a captured graph
            )
            assert self.sampler(logits, batch) is self.sampler.output
            yield step


@pytest.mark.parametrize("runner", [V1Runner, V2Runner])
def test_rows_find_their_requests(runner: type[V1Runner | V2Runner]) -> None:
    recorder = Recorder(8, buffer_bytes=0)
    played = runner()
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


def test_both_runners_give_the_same_rows() -> None:
    records = []
    for played in (V1Runner(), V2Runner()):
        recorder = Recorder(8)
        detach = hooks.attach(played, recorder)
        list(played.run())
        detach()
        records.append(recorder.finish())
    one, other = ({name: record.statistics(name, expected()[name]) for name in "abc"} for record in records)
    for name in "abc":
        np.testing.assert_array_equal(one[name].logprob, other[name].logprob)


def test_detaching_leaves_the_runner_as_it_was() -> None:
    v1, v2 = V1Runner(), V2Runner()
    before = v2.sampler
    for played in (v1, v2):
        for _ in range(2):
            hooks.attach(played, Recorder(8))()
        list(played.run())
    assert "_sample" not in vars(v1)
    assert v2.sampler is before
    assert type(before) is V2Sampler


@pytest.mark.parametrize("runner", [V1Runner, V2Runner])
def test_a_runner_that_changed_does_not_stop_its_steps(runner: type[V1Runner | V2Runner]) -> None:
    played, recorder = runner(), Recorder(8)
    hooks.attach(played, recorder)
    if isinstance(played, V1Runner):
        del played.optimistic_seq_lens_cpu
        with pytest.raises(AttributeError):  # of the stand-in itself
            list(played.run())
        recorder.before(torch.zeros(1, 3))
        recorder.after(torch.zeros(1, 1), lambda: hooks.v1_rows(played))
    else:
        del played.req_states.prompt_len
        assert len(list(played.run())) == len(STEPS)
    assert any(name.startswith("AttributeError") for name in recorder.finish().faults)


@pytest.mark.parametrize(
    ("changes", "told"),
    [({"speculative_config": object()}, "speculative decoding"), ({"sharded": True}, "batch-sharded sampling")],
)
@pytest.mark.parametrize("v2", [False, True])
def test_what_cannot_be_recorded_is_refused(changes: dict[str, Any], told: str, v2: bool) -> None:
    played = V2Runner() if v2 else V1Runner()
    played.vllm_config = config(use_v2_model_runner=v2, **changes)
    with pytest.raises(RunError, match=told):
        hooks.attach(played, Recorder(8))


def test_a_runner_without_the_names_is_refused() -> None:
    v1, v2 = V1Runner(), V2Runner()
    del v1.discard_request_mask
    del v2.req_states
    with pytest.raises(RunError, match=r"has no discard_request_mask\.np"):
        hooks.attach(v1, Recorder(8))
    with pytest.raises(RunError, match=r"has no req_states\.prompt_len\.np"):
        hooks.attach(v2, Recorder(8))
    last = V2Runner()
    last.sampler = None  # type: ignore[assignment]
    with pytest.raises(RunError, match="has no sampler"):
        hooks.attach(last, Recorder(8))


class TestTheInstalledVllm:
    """The attributes that hooks read exist in vLLM's source. It is parsed, since the V2 runner imports only on a GPU."""

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

    def test_v2(self, source: Any) -> None:
        sampler = self._class(source("v1/worker/gpu/sample/sampler.py"), "Sampler")
        assert self._arguments(sampler, "__call__") == ["self", "logits", "input_batch"]
        assert {"prompt_len", "prefill_len"} <= self._own(
            self._class(source("v1/worker/gpu/states.py"), "RequestState")
        )
        batch = self._class(source("v1/worker/gpu/input_batch.py"), "InputBatch")
        assert {"req_ids", "num_reqs", "idx_mapping_np", "seq_lens_cpu_upper_bound"} <= self._own(batch)
        runner = self._class(source("v1/worker/gpu/model_runner.py"), "GPUModelRunner")
        assert {"sampler", "req_states", "vllm_config"} <= self._own(runner)
        calls = [ast.unparse(node) for node in ast.walk(runner) if isinstance(node, ast.Call)]
        assert "self.sampler(logits, input_batch)" in calls

    def test_both(self, source: Any) -> None:
        assert "use_v2_model_runner" in self._own(self._class(source("config/vllm.py"), "VllmConfig"))
        groups = {
            node.name for node in source("distributed/parallel_state.py").body if isinstance(node, ast.FunctionDef)
        }
        assert {"get_pp_group", "get_tp_group"} <= groups


def _of_self(node: ast.Attribute) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id == "self"
