"""A trainer over two CPU ranks: adapter and statistics of one process, and no silent wait for a lost rank."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from autophage.errors import RunError, UserError
from autophage.trainer import group
from autophage.trainer.ranks import share

TINY = """
from autophage.recipe.schema import Recipe
from autophage.recipe.tables.model import BaseTable, ModelTable
from autophage.recipe.tables.source import SourceTable
from autophage.recipe.tables.train import TrainTable

RECIPE = Recipe(
    name="t",
    model=ModelTable(rank=4),
    base=BaseTable(hidden_size=64, layers=2, heads=2, tokens=20_000),
    source=SourceTable(people=12, held_out_documents=8),
    train=TrainTable(batch_size=7, learning_rate=1e-2),
)


def make(folder, ranks, whole=False):
    from autophage.trainer.sharded import ShardedModel

    return ShardedModel(folder, RECIPE, ranks, whole=whole)
"""

BEGIN = '''
"""In a process of its own, which becomes rank 0."""
from autophage.host import environment
environment.apply()
import os, pathlib, signal, sys, time
from functools import partial
import numpy as np, safetensors.torch, torch
from torch.distributed.tensor import DTensor
from autophage.data.build import bind, read_source
from autophage.data.mix import TrainingRow
from autophage.errors import RunError
from autophage.progress import Meter
from autophage.trainer import group, ranks
from autophage.trainer.base_model import ensure_base_model
from autophage.trainer.fit import FitRequest
from autophage.trainer.group import Group
from autophage.trainer.resident import ResidentModel
from tiny import RECIPE, make

log = pathlib.Path(sys.argv[1], "trainer.log")
folder = str(ensure_base_model(RECIPE, read_source(RECIPE), Meter()))
alone = ResidentModel(folder, RECIPE)
source = bind(read_source(RECIPE), alone.tokenizer, RECIPE)
rows = [TrainingRow(item.prompt_ids + item.continuation_ids, 1) for item in source.items(5, 31)]
zero = alone.base_weights()


def followers():
    found = []
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            fields = (process / "stat").read_text().rpartition(")")[2].split()
            found += [int(process.name)] * (fields[1] == str(os.getpid()))
        except OSError:
            pass
    return found

'''

SAME = (
    BEGIN
    + '''
def distance(one, other):
    """Of two adapters, relative to how far training moved them."""
    a, b, z = (safetensors.torch.load(weights.tensors) for weights in (one, other, zero))
    return float((sum(((a[n] - b[n]) ** 2).sum() for n in z) / sum(((a[n] - z[n]) ** 2).sum() for n in z)).sqrt())


few, cut = rows[:3], [TrainingRow(row.token_ids, len(row.token_ids) - index % 2) for index, row in enumerate(rows)]
cases = {"31 rows in batches of 7": rows, "fewer rows than a batch": few, "rows with one token of loss or none": cut}
wanted = {name: alone.fit(FitRequest(zero, case, RECIPE, 3)).weights for name, case in cases.items()}
trained = wanted["31 rows in batches of 7"]
sequences, contexts = [row.token_ids for row in rows], [1 + index % 3 for index in range(len(rows))]
alone.load(trained)
scored = alone.score(sequences, contexts)

two = Group(partial(make, folder), 2, [], log)
assert two.own.base_weights() == zero
split = [parameter for name, parameter in two.own.model.named_parameters() if "layers." in name and "lora_" not in name]
assert all(isinstance(parameter, DTensor) for parameter in split)
assert 2 * sum(parameter.to_local().numel() for parameter in split) == sum(parameter.numel() for parameter in split)

for name, case in cases.items():
    done = []
    meter = Meter(lambda now: done.append((now.done, now.total)))
    found = two.call("fit", FitRequest(zero, case, RECIPE, 3, meter=meter)).weights
    print(name, distance(wanted[name], found))
    assert distance(wanted[name], found) < 1e-4, (name, distance(wanted[name], found))
    assert done[-1][0] == done[-1][1] == len(done) == -(-len(case) // RECIPE.train.batch_size)
    assert meter.progress.tokens == sum(len(row.token_ids) for row in case)
    assert two.call("fit", FitRequest(zero, case, RECIPE, 3)).weights == found
assert distance(trained, alone.fit(FitRequest(zero, rows[::-1], RECIPE, 3)).weights) > 1e-2  # the order would be seen
assert two.call("fit", FitRequest(zero, [], RECIPE, 3)).weights == zero

two.call("load", trained)
for one, other in zip(scored, two.call("score", sequences, contexts), strict=True):
    for name, values in vars(one).items():
        np.testing.assert_allclose(getattr(other, name), values, atol=1e-5)

# Gains of an odd number of documents. Each rank tries every other one.
gained = alone.gains(trained, rows[:7], rows[7:19], 3, 0.05)
assert len(set(gained)) == 7
np.testing.assert_allclose(two.call("gains", trained, rows[:7], rows[7:19], 3, 0.05, Meter()), gained, atol=1e-5)
assert two.call("fit", FitRequest(zero, cut, RECIPE, 3)).weights == found  # nothing is left of what was tried

# Statistics of a step cover the tokens of all ranks.
request = FitRequest(zero, rows, RECIPE, 3)
for one, other in zip(alone.fit(request).steps, two.call("fit", request).steps, strict=True):
    np.testing.assert_allclose(list(vars(other).values()), list(vars(one).values()), rtol=1e-4)

# The carried optimizer state equals that of one process, and it matters.
carrying = RECIPE.model_copy(update={"train": RECIPE.train.model_copy(update={"optimizer": "carried"})})
kept = alone.fit(FitRequest(zero, rows, carrying, 3))
fresh = alone.fit(FitRequest(kept.weights, rows, carrying, 4))
alone_on = alone.fit(FitRequest(kept.weights, rows, carrying, 4, kept.optimizer))
shared = two.call("fit", FitRequest(zero, rows, carrying, 3))
shared_on = two.call("fit", FitRequest(shared.weights, rows, carrying, 4, shared.optimizer))
assert distance(alone_on.weights, shared_on.weights) < 1e-3 < 1e-2 < distance(alone_on.weights, fresh.weights)
one, other = (safetensors.torch.load(fitted.optimizer) for fitted in (alone_on, shared_on))
assert one.keys() == other.keys()
for name in one:
    difference = float((one[name].double() - other[name].double()).norm())
    assert difference <= 1e-3 * float(one[name].double().norm()), (name, difference)

# The group can be called again after an error that all ranks raise.
wild = RECIPE.model_copy(update={"train": RECIPE.train.model_copy(update={"learning_rate": 1e30})})
try:
    two.call("fit", FitRequest(zero, rows, wild, 3))
except RunError as error:
    assert "Lower train.learning_rate" in str(error), error
else:
    sys.exit("a loss that is not finite was trained on")
assert distance(trained, two.call("fit", FitRequest(zero, rows, RECIPE, 3)).weights) < 1e-4
assert len(followers()) == 1
two.close()
two.close()
assert followers() == []

# The same where each rank holds the whole model.
torch.distributed.destroy_process_group()
two = Group(partial(make, folder, whole=True), 2, [], log)
assert not any(isinstance(parameter, DTensor) for parameter in two.own.model.parameters())
assert [p.numel() for p in two.own.model.parameters()] == [p.numel() for p in alone.model.parameters()]
for name, case in cases.items():
    found = two.call("fit", FitRequest(zero, case, RECIPE, 3))
    assert distance(wanted[name], found.weights) < 1e-4, (name, distance(wanted[name], found.weights))
    for one, other in zip(alone.fit(FitRequest(zero, case, RECIPE, 3)).steps, found.steps, strict=True):
        np.testing.assert_allclose(list(vars(other).values()), list(vars(one).values()), rtol=1e-4)
two.call("load", trained)
for one, other in zip(scored, two.call("score", sequences, contexts), strict=True):
    for name, values in vars(one).items():
        np.testing.assert_allclose(getattr(other, name), values, atol=1e-5)
try:
    two.call("fit", FitRequest(zero, rows, wild, 3))
except RunError as error:
    assert "Lower train.learning_rate" in str(error), error
else:
    sys.exit("a loss that is not finite was trained on")
# Rank 0 computes one document at a time. Ranks wait for each other once a step, so the other need not.
two.own.micro_batch.rows = 1
assert distance(trained, two.call("fit", FitRequest(zero, rows, RECIPE, 3)).weights) < 1e-4
two.close()
print("two ranks are one trainer")
'''
)

BENCH = '''
"""In a process of its own, which becomes rank 0."""
from autophage.host import environment
environment.apply()
import pathlib, sys
import numpy as np, pytest, safetensors.torch, torch
from autophage.data.build import read_source
from autophage.errors import SwapError
from autophage.metrics.scored import Statistics
from autophage.progress import Meter
from autophage.stages.facts import model_path
from autophage.recipe import load_recipe
from autophage.sampler.protocol import Completion
from autophage.stages.sharded import ShardedBench
from autophage.stages.workbench import Workbench
from dataclasses import fields

loaded = load_recipe("smoke", ["questions.kind=world", 'questions.formats=["few-shot"]', "questions.count=20"])
source = read_source(loaded.recipe)
path = model_path(loaded.recipe, source, Meter())
alone = Workbench(loaded.recipe, source, path)
arm = next(arm for arm in loaded.arms if not arm.control)


def answers(requests, adapter):
    """Documents with their statistics, as a sampler would give them: human ones here."""
    alone.resident.load(adapter)
    documents = alone.source.held_out()
    texts = [documents[index % len(documents)].token_ids[1:] for index in range(len(requests))]
    sequences = [[*request.prompt_ids, *text] for request, text in zip(requests, texts, strict=True)]
    scored = alone.resident.score(sequences, [len(request.prompt_ids) for request in requests])
    names = [field.name for field in fields(Statistics)]
    return [
        Completion(text, "stop", None, Statistics(**{name: getattr(one, name) for name in names}))
        for text, one in zip(texts, scored, strict=True)
    ]


def canaries(adapter):
    alone.resident.load(adapter)
    sequences = [[*prompt, 5, 6, 7] for prompt in alone.canary_prompts]
    scored = alone.resident.score(sequences, [len(prompt) for prompt in alone.canary_prompts])
    return [Completion([5, 6, 7], "length", one.logprob.tolist()) for one in scored]


def measured(bench):
    """A generation on `bench`: what was trained, and every metric."""
    start = bench.base_weights(arm)
    given = answers(bench.requests(arm, 0), start)
    samples, metrics, _ = bench.measure(arm, 0, start, None, given, Meter())
    trained = bench.fit(arm, 1, start, {0: samples}, Meter())
    assert bench.check_canary(trained.weights, canaries(trained.weights)).nats < 1e-5
    with pytest.raises(SwapError, match="does not serve"):
        bench.check_canary(trained.weights, canaries(start))
    given = answers(bench.requests(arm, 1), trained.weights)
    _, later, _ = bench.measure(arm, 1, trained.weights, start, given, Meter())
    return trained, [*metrics, *later]


def settled(bench):
    return bench.engine_settings(loaded.arms), bench.decoding(arm), bench.canary_prompts, bench.base_weights(arm)


expected, settings = measured(alone), settled(alone)
two = ShardedBench(loaded.recipe, path, 2, [], pathlib.Path(sys.argv[1], "trainer.log"))
assert settled(two) == settings
found = measured(two)
two.close()
assert found[0].tokens == expected[0].tokens
assert len(found[0].steps) == len(expected[0].steps) > 2
for one, other in zip(expected[1], found[1], strict=True):
    assert (one.metric, one.n) == (other.metric, other.n)
    assert other.value == pytest.approx(one.value, rel=1e-3, abs=1e-4), one.metric
print(len(found[1]), "metrics are those of one process")
'''

KILLED = (
    BEGIN
    + """
two = Group(partial(make, folder), 2, [], log)
(follower,) = followers()
os.kill(follower, signal.SIGKILL)
try:
    two.call("fit", FitRequest(zero, rows, RECIPE, 3))
except RunError as error:
    assert str(error).startswith("trainer rank 1 died (exit code -9"), error
    assert str(log.with_name("trainer-1.log")) in str(error)
else:
    sys.exit("a dead rank was not missed")
assert followers() == []
print("missed")
"""
)

HUNG = (
    BEGIN
    + """
ranks.COLLECTIVE_SECONDS, group.ANSWER_SECONDS, group.LEAVE_SECONDS = 5.0, 5.0, 2.0
two = Group(partial(make, folder), 2, [], log)
(follower,) = followers()
os.kill(follower, signal.SIGSTOP)
began = time.monotonic()
try:
    two.call("fit", FitRequest(zero, rows, RECIPE, 3))
except RunError as error:
    assert str(error).startswith("trainer rank 1 did not answer within"), error
else:
    sys.exit("a rank that hangs was not missed")
assert time.monotonic() - began < 60
assert followers() == []
print("missed")
"""
)

ORPHANED = (
    BEGIN
    + """
two = Group(partial(make, folder), 2, [], log)
print(*followers(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
)


def run(script: str, folder: Path, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    (folder / "tiny.py").write_text(TINY, encoding="utf-8")
    (folder / "script.py").write_text(script, encoding="utf-8")
    command = [sys.executable, str(folder / "script.py"), str(folder)]
    variables = {**variables, "PYTHONPATH": os.pathsep.join([str(folder), *sys.path[1:]]), "TMPDIR": str(folder)}
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)


def said(done: subprocess.CompletedProcess[str], folder: Path) -> str:
    logs = "".join(log.read_text()[-2000:] for log in folder.glob("trainer-*.log"))
    return done.stdout[-1000:] + done.stderr[-3000:] + logs


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("script", "end"),
    [
        pytest.param(SAME, "two ranks are one trainer", id="trains and scores like one process"),
        pytest.param(BENCH, "metrics are those of one process", id="measures like one process", marks=pytest.mark.long),
        pytest.param(KILLED, "missed", id="a rank is killed", marks=pytest.mark.long),
        pytest.param(HUNG, "missed", id="a rank hangs", marks=pytest.mark.long),
    ],
)
def test_two_ranks(script: str, end: str, variables: dict[str, str], tmp_path: Path) -> None:
    done = run(script, tmp_path, variables)
    assert done.returncode == 0, said(done, tmp_path)
    assert end in done.stdout
    assert not list(tmp_path.glob("autophage-ranks-*"))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.long
def test_ranks_leave_with_rank_0(variables: dict[str, str], tmp_path: Path) -> None:
    done = run(ORPHANED, tmp_path, variables)
    assert done.returncode == -9, said(done, tmp_path)
    (follower,) = done.stdout.split()
    deadline = time.monotonic() + 30
    while Path("/proc", follower).exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not Path("/proc", follower).exists()
    assert not list(tmp_path.glob("autophage-ranks-*"))


@pytest.mark.parametrize("count", [0, 1, 6, 7, 8, 13, 14, 15])
@pytest.mark.parametrize(("batch", "size"), [(7, 2), (8, 4), (1, 3), (5, 1)])
def test_every_row_goes_to_one_rank_in_its_own_batch(count: int, batch: int, size: int) -> None:
    filler = -1
    parts = [share(range(count), batch, rank, size, filler) for rank in range(size)]
    assert len({len(part) for part in parts}) == 1
    own = -(-batch // size)
    for step, start in enumerate(range(0, count, batch)):
        dealt = [row for part in parts for row in part[step * own : (step + 1) * own]]
        assert sorted(row for row in dealt if row != filler) == list(range(start, min(start + batch, count)))
    assert sum(row != filler for part in parts for row in part) == count


def test_fewer_gpus_than_ranks_are_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="4 trainer ranks need 4 GPUs of one machine, but the trainer was given 2"):
        group.Group(lambda _: None, 4, ["0", "1"], tmp_path / "trainer.log")


def test_rank_0_keeps_the_first_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-5,7")
    assert group.keep_first_gpu() == ["2", "GPU-5", "7"]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "2"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert group.keep_first_gpu() == []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    with pytest.raises(RunError, match="has initialized CUDA already"):
        group.keep_first_gpu()
