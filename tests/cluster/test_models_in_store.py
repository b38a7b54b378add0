"""A trained model in Ray's store outlives its trainer's process, and the machine of its trainer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(300)]

SCRIPT = """
from autophage.host import environment
environment.apply()
environment.stay_on_loopback()
import os, sys
import ray
from ray.cluster_utils import Cluster
from autophage.cluster.clients import TrainerClient
from autophage.cluster.models_in_store import ModelsInStore, copy_here
from autophage.cluster.partial import PartialGeneration
from autophage.cluster.scheduler import Stage, Work
from autophage.store.messages import TrainingRecord
from autophage.store.weights import Weights

os.makedirs("/tmp/ray", exist_ok=True)  # where these utilities note the address
node = {"num_cpus": 1, "node_ip_address": "127.0.0.1"}
cluster = Cluster(
    initialize_head=True,
    head_node_args={**node, "temp_dir": sys.argv[1], "include_dashboard": False},
)
trainers = cluster.add_node(**node, resources={"trainer": 1})
ray.init(cluster.address, log_to_driver=False)
LARGE = 3 << 20  # Ray keeps smaller results in the driver's own memory


class Trainer:
    def fit(self, *arguments, early):
        return TrainingRecord(7, [], []), Weights(bytes(LARGE), {}), bytes(LARGE)


def trained():
    handle = ray.remote(num_cpus=0, resources={"trainer": 0.1})(Trainer).remote()
    fit = TrainerClient(handle).fit("main", 1, None, {}, None, early=False)
    assert ray.get(fit.record).tokens == 7
    return handle, PartialGeneration(weights=fit.weights, optimizer=fit.optimizer)


handle, partial = trained()
ray.kill(handle)
models = ModelsInStore(None)
models.keep(Work("main", 1, Stage.COMMIT), partial)
assert len(ray.get(models.weights("main", 1)).tensors) == LARGE
assert len(ray.get(models.optimizer("main", 1))) == LARGE
print("without its process")

_, partial = trained()
if "copy" in sys.argv:
    copy_here(partial, 60)
cluster.remove_node(trainers, allow_graceful=False)
try:
    assert len(ray.get(partial.weights).tensors) == len(ray.get(partial.optimizer)) == LARGE
    print("without its machine")
except ray.exceptions.ObjectLostError:
    print("lost with its machine")
ray.shutdown()
cluster.shutdown()
"""


@pytest.mark.parametrize(
    ("option", "words"),
    [("copy", "without its machine"), ("none", "lost with its machine")],
)
def test_a_model_outlives_its_trainer(option: str, words: str, short: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(short), option],
        env={**os.environ},
        capture_output=True,
        text=True,
        check=False,
    )
    said = [line for line in done.stdout.splitlines() if line.startswith(("without", "lost"))]  # raylets print too
    assert said == ["without its process", words], done.stderr[-3000:]
