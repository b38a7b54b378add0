"""Models that share a batch, and callers that share an engine, get the results that each would get alone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

Contents = Callable[[Path], dict[str, object]]
Run = Callable[..., "subprocess.CompletedProcess[str]"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

TOGETHER = ["--set", "sample.concurrency=160"]
"""Makes the three arms of `smoke`, of 48 samples each, one cohort."""

SCRIPT = '''
"""In a process of its own: vLLM changes global state of the process it runs in."""
from autophage.host import environment
environment.apply()
import sys, threading, time
from concurrent.futures import ThreadPoolExecutor
import numpy as np, safetensors.torch, torch
from vllm import LLMEngine
from autophage.data.build import read_source
from autophage.errors import EngineDeadError
from autophage.progress import Meter
from autophage.stages.facts import model_path
from autophage.recipe import load_recipe
from autophage.sampler.engine import Sampler
from autophage.sampler.protocol import Decoding, Job, Request
from autophage.stages.workbench import Workbench
from autophage.store.weights import Weights

loaded = load_recipe("smoke", ["sample.concurrency=160"])
source = read_source(loaded.recipe)
bench = Workbench(loaded.recipe, source, model_path(loaded.recipe, source, Meter()))
settings = bench.engine_settings(loaded.arms)
assert settings.mixed == 3, settings

# Every call of vLLM comes from one thread, whichever thread calls the sampler.
seen = {}


def watched(name, whole):
    def call(self, *args, **kwargs):
        seen.setdefault(name, set()).add(threading.get_ident())
        return whole(self, *args, **kwargs)

    return call


CALLS = ("__init__", "step", "add_request", "collective_rpc", "has_unfinished_requests")
for name in CALLS:
    setattr(LLMEngine, name, watched(name, getattr(LLMEngine, name)))
sampler = Sampler(settings)
zero = bench.base_weights(loaded.arms[0])


def random_adapter(seed):
    torch.manual_seed(seed)
    tensors = safetensors.torch.load(zero.tensors)
    for name, tensor in sorted(tensors.items()):  # safetensors gives them in any order
        if "lora_B" in name:
            tensors[name] = torch.randn_like(tensor) * 0.05
    return Weights(safetensors.torch.save(tensors), zero.config)


def nobody(*_):
    pass


served = [sampler.install(f"arm{n}@1", random_adapter(n)) for n in range(3)]
prompt = bench.canary_prompts[0]
requests = [[Request(prompt[: 2 + (n + i) % 4], 1000 * n + i) for i in range(30)] for n in range(3)]
greedy, drawn = Decoding(24, 0.0, 1.0, 0, (2,)), Decoding(40, 1.0, 1.0, 0, (2,))


def tokens(answers):
    return [one.token_ids for one in answers]


def bits(answers):
    return [(one.token_ids, [column.tobytes() for column in vars(one.statistics).values()]) for one in answers]


for decoding in (greedy, drawn):
    jobs = [Job(one, own, decoding) for one, own in zip(served, requests)]
    alone = [sampler.sample([job], nobody)[0] for job in jobs]
    assert len({str(tokens(one)) for one in alone}) == 3, "the models write the same"
    mixed = sampler.sample(jobs, nobody)
    assert [tokens(one) for one in mixed] == [tokens(one) for one in alone]
    for own, other in zip(alone, mixed):
        for a, b in zip(own, other):
            np.testing.assert_allclose(a.statistics.logprob, b.statistics.logprob, atol=1e-5)
    # What was installed before, and in which order, does not reach a batch's last bits.
    extra = sampler.install("other@1", random_adapter(9))
    sampler.sample([Job(extra, requests[0], decoding)], nobody)
    sampler.sample(jobs[::-1], nobody)
    sampler.remove(extra)
    again = sampler.sample(jobs, nobody)
    assert [bits(one) for one in mixed] == [bits(one) for one in again]

# More requests than enter at once give the steps, and the bits, of requests that all enter.
runner = sampler._engine.engine_core.engine_core.model_executor.driver_worker.worker.model_runner
execute, composed = runner.execute_model, []


def noting(scheduled, *rest, **named):
    composed[-1].append(list(scheduled.num_scheduled_tokens.values()))
    return execute(scheduled, *rest, **named)


runner.execute_model = noting
many = [Request(prompt[: 2 + i % 4], i) for i in range(3 * settings.concurrency)]
limit, written = sampler._window._limit, []
for limit_here in (limit, len(many)):
    sampler._window._limit = limit_here
    composed.append([])
    written.append(bits(sampler.sample([Job(served[0], many, Decoding(12, 1.0, 1.0, 0, (2,)))], nobody)[0]))
sampler._window._limit, runner.execute_model = limit, execute
assert limit < len(many)
assert len(composed[0]) > 20 and composed[0] == composed[1]
assert written[0] == written[1]

# Callers in threads of their own share the queue.
counted = []
with ThreadPoolExecutor(6) as threads:
    calls = [
        threads.submit(sampler.sample, [job], lambda job, place, ids: counted.append((job, place)), observe=observe)
        for job in jobs
        for observe in (True, False)
    ]
    canaries = threads.submit(sampler.canary, served[0], bench.canary_prompts)
    for call, (own, observed) in zip(calls, [(own, flag) for own in alone for flag in (True, False)]):
        [answers] = call.result()
        assert tokens(answers) == tokens(own)
        assert all((one.statistics is not None) == observed for one in answers)
        for a, b in zip(own, answers):
            if observed:
                np.testing.assert_allclose(a.statistics.entropy, b.statistics.entropy, atol=1e-5)
    assert len(canaries.result()) == len(bench.canary_prompts)
assert sorted(counted) == [(0, place) for place in range(30) for _ in calls]
assert sampler._records == [] and sampler._open == {}
assert set(seen) == set(CALLS), seen
assert len(set.union(*seen.values())) == 1, f"vLLM was called from several threads: {seen}"
assert threading.get_ident() not in seen["step"]

# Asked for a token while documents are written, an engine shows one of theirs, and they stay as they are to the last bit.
with ThreadPoolExecutor(1) as threads:
    call = threads.submit(sampler.sample, jobs, nobody)
    while not sampler._open:
        time.sleep(0.001)
    assert sampler.prove(30.0)
    assert [bits(one) for one in call.result()] == [bits(one) for one in mixed]
assert not sampler.prove()

# An engine that takes its steps and writes nothing is dead, however well it answers.
sampler._engine.step, whole = list, sampler._engine.step
with ThreadPoolExecutor(1) as threads:
    call = threads.submit(sampler.sample, jobs, nobody)
    while not sampler._open:
        time.sleep(0.001)
    try:
        sampler.prove(0.2)
    except EngineDeadError as error:
        assert "wrote no token" in str(error)
    else:
        sys.exit("an engine that writes nothing was taken for a living one")
    sampler._engine.step = whole
    assert [bits(one) for one in call.result()] == [bits(one) for one in mixed]

# An engine whose step failed holds requests that never end: nobody is left waiting for them.
def broken():
    raise ValueError("none left")

sampler._engine.step, whole = broken, sampler._engine.step
with ThreadPoolExecutor(2) as threads:
    calls = [threads.submit(sampler.sample, [job], nobody) for job in jobs[:2]]
    assert [type(call.exception()).__name__ for call in calls] == ["EngineDeadError"] * 2
    assert all("none left" in str(call.exception()) for call in calls)
sampler._engine.step = whole
try:
    sampler.sample(jobs[:1], nobody)
except EngineDeadError as error:
    assert "none left" in str(error)
else:
    sys.exit("a broken engine was used again")
print("batches hold")
'''


def test_models_in_one_batch_write_what_they_write_alone(variables: dict[str, str], tmp_path: Path) -> None:
    script = tmp_path / "batches.py"
    script.write_text(SCRIPT, encoding="utf-8")
    done = subprocess.run([sys.executable, str(script)], env=variables, capture_output=True, text=True, check=False)
    assert "batches hold" in done.stdout, done.stdout[-1000:] + done.stderr[-3000:]


@pytest.fixture(scope="module")
def cohort_run(autophage: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "cohort"
    done = autophage("run", "smoke", *TOGETHER, "--out", out)
    assert done.returncode == 0, done.stderr[-2000:]
    return out


def sampled_at_once(run: Path) -> int:
    """Return the largest number of arms that sampled at one time."""
    most, now = 0, set()
    for line in (run / "events.jsonl").read_text("utf-8").splitlines():
        event = json.loads(line)
        if event.get("stage") == "sample" and event["kind"] == "stage-start":
            now.add(event["arm"])
            most = max(most, len(now))
        elif event.get("stage") == "sample" and event["kind"] == "stage-end":
            now.discard(event["arm"])
    return most


def test_a_cohort_is_one_batch_in_engine_and_loop(
    cohort_run: Path, contents: Contents, variables: dict[str, str], tmp_path: Path
) -> None:
    assert sampled_at_once(cohort_run) == 3
    out, settings = tmp_path / "loop", [TOGETHER[1]]
    code = f"from pathlib import Path; from autophage.loop import run_loop; run_loop('smoke', Path({str(out)!r}), {settings})"
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert contents(cohort_run) == contents(out)


@pytest.mark.long
def test_a_cohort_that_was_interrupted_ends_with_the_same_bits(
    cohort_run: Path, contents: Contents, autophage: Run, tmp_path: Path
) -> None:
    """Arms that are further than the others are sampled once more beside them."""
    out = tmp_path / "again"
    shutil.copytree(cohort_run, out)
    for arm, first in (("alpha-1.0", 1), ("control", 2)):
        for generation in range(first, 3):
            (out / "arms" / arm / f"gen-{generation:03d}" / "manifest.json").unlink()
    done = autophage("run", "smoke", *TOGETHER, "--out", out)
    assert done.returncode == 0, done.stderr[-2000:]
    assert contents(out) == contents(cohort_run)


@pytest.mark.long
def test_a_continuous_batch_takes_whoever_is_ready(
    cohort_run: Path, contents: Contents, autophage: Run, tmp_path: Path
) -> None:
    """In continuous batches bits may differ. Documents hardly can, because each has its own random numbers."""
    out = tmp_path / "continuous"
    done = autophage(
        "run", "smoke", *TOGETHER, "--set", "devices=disjoint", "--set", "sample.batching=continuous", "--out", out
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found, expected = contents(out), contents(cohort_run)
    assert found.keys() == expected.keys()
    for arm in ("alpha-1.0", "alpha-0.5", "control"):
        rows, wanted = (
            pq.read_table(run / "arms" / arm / "gen-000" / "corpus-00000.parquet", columns=["token_ids"])
            for run in (out, cohort_run)
        )
        assert rows == wanted
        manifest = json.loads((out / "arms" / arm / "gen-002" / "manifest.json").read_text("utf-8"))
        assert manifest["level"] == "statistical"


@pytest.mark.long
def test_training_begun_early_changes_nothing(autophage: Run, contents: Contents, tmp_path: Path) -> None:
    """An arm that is alone and samples in waves trains its next model on documents that are finished."""
    settings = {
        "sweep": "{}",
        "control.enabled": "false",
        "sample.count": "120",
        "sample.concurrency": "32",
        "train.batch_size": "4",
        "train.optimizer": "carried",
    }
    runs = {}
    for devices in ("serial", "disjoint"):
        runs[devices] = tmp_path / devices
        words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        done = autophage("run", "smoke", *words, "--set", f"devices={devices}", "--out", runs[devices])
        assert done.returncode == 0, done.stderr[-2000:]
    assert contents(runs["serial"]) == contents(runs["disjoint"])
    assert (overlaps(runs["serial"]), overlaps(runs["disjoint"])) == (0, 2)


def overlaps(run: Path) -> int:
    """Count the trainings that began before their corpus was sampled."""
    now, found = set(), 0
    for line in (run / "events.jsonl").read_text("utf-8").splitlines():
        event = json.loads(line)
        if event["kind"] == "stage-start":
            now.add((event["stage"], event["generation"]))
            found += event["stage"] == "train" and ("sample", event["generation"] - 1) in now
        elif event["kind"] == "stage-end":
            now.discard((event["stage"], event["generation"]))
    return found
