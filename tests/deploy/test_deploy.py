"""Files in `deploy/` are well formed, keep to their formats, and call commands that exist.

Neither Docker nor a cluster is needed. The Slurm script runs on one node with a real Ray. Only `srun`, `scontrol` and
`autophage` are stand-ins.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from cyclopts.exceptions import UnknownOptionError
from tests.deploy.installer import CACHES

from autophage.cli.app import VERBS, build_app

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
SBATCH = DEPLOY / "slurm" / "autophage.sbatch"
RAYJOB = DEPLOY / "kuberay" / "rayjob.yaml"
DOCKERFILES = sorted((DEPLOY / "docker").glob("Dockerfile.*"))
TEXTS = [SBATCH, RAYJOB, DEPLOY / "README.md", *DOCKERFILES]


def test_there_is_something_to_look_at() -> None:
    assert {path.suffix for path in DOCKERFILES} == {".cpu", ".gpu"}
    assert all(path.is_file() for path in TEXTS)


# --- every call of the command line ----------------------------------------------------------------------------------


def calls() -> Iterator[list[str]]:
    """Arguments of every `autophage` command in scripts, manifests and README. `docker run IMAGE` counts as one."""
    for path in TEXTS:
        text = path.read_text("utf-8").replace("\\\n", " ")
        for line in text.splitlines():
            line = line.strip().removeprefix("#").split("  #")[0].strip()
            found = re.match(r"(?:docker run .*? autophage:\d\S*|entrypoint: autophage|`?autophage) (\w[^&`]*)", line)
            if found and found[1].split()[0] in VERBS:
                yield shlex.split(found[1])


def plain(arguments: list[str]) -> list[str]:
    """Shell variables with values in their place; `"$@"` is more of the same."""
    return [
        word.replace("$RECIPE", "demo").replace("$OUT", "runs/demo")
        for word in arguments
        if word not in ("$@", "[--set", "key=value]...")
    ]


def takes(arguments: list[str]) -> None:
    build_app().parse_args(arguments, exit_on_error=False, print_error=False)


def test_every_autophage_command_parses() -> None:
    found = [plain(arguments) for arguments in calls()]
    assert {"run", "status"} <= {arguments[0] for arguments in found}
    assert sum("--address" in arguments for arguments in found) >= 2
    for arguments in found:
        takes(arguments)


def test_a_wrong_option_would_be_found() -> None:
    with pytest.raises(UnknownOptionError):
        takes(["run", "demo", "--output", "x"])


# --- Slurm -----------------------------------------------------------------------------------------------------------

DIRECTIVES = {
    "job-name": r"[\w-]+",
    "nodes": r"\d+(-\d+)?",
    "ntasks-per-node": r"1",
    "cpus-per-task": r"\d+",
    "gpus-per-node": r"(\w+:)?\d+",
    "mem": r"\d+[KMGT]?",
    "exclusive": r"(user|mcs|topo)?",
    "time": r"(\d+-)?\d{1,2}:\d{2}:\d{2}",
    "signal": r"B:USR1@\d+",
    "requeue": r"",
    "open-mode": r"append",
    "output": r"\S+",
    "partition": r"[\w,-]+",
    "account": r"[\w-]+",
    "constraint": r"\S+",
}
"""Options of sbatch with the form of their values. One task per node, since one Ray owns a node."""


def directives() -> dict[str, str]:
    found: dict[str, str] = {}
    commands_began = False
    for line in SBATCH.read_text("utf-8").splitlines():
        if line.startswith("#SBATCH"):
            assert not commands_began, f"sbatch reads no directive after the first command: {line}"
            option = re.fullmatch(r"#SBATCH --([a-z-]+)(?:=(\S+))?", line)
            assert option is not None, line
            assert option[1] not in found, f"{option[1]} twice"
            found[option[1]] = option[2] or ""
        elif line and not line.startswith("#"):
            commands_began = True
    return found


def test_the_slurm_script_is_bash() -> None:
    subprocess.run(["bash", "-n", str(SBATCH)], check=True)
    node = re.search(r"^NODE='\n(.*?)^'", SBATCH.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    assert node is not None
    subprocess.run(["bash", "-n"], input=node[1], text=True, check=True)
    if shellcheck := shutil.which("shellcheck"):
        subprocess.run([shellcheck, "--shell=bash", "--severity=warning", str(SBATCH)], check=True)


def test_the_slurm_directives_exist() -> None:
    found = directives()
    assert found.keys() <= DIRECTIVES.keys()
    for option, value in found.items():
        assert re.fullmatch(DIRECTIVES[option], value), (option, value)
    # Without these a job does not stop in time, does not come back, or forgets what it had said.
    assert {"signal", "requeue", "open-mode", "time"} <= found.keys()


def test_slurm_leaves_time_for_commits_and_for_leaving() -> None:
    script = SBATCH.read_text("utf-8")
    grace, stop = (re.search(rf"^{name}=(\d+)", script, flags=re.MULTILINE) for name in ("GRACE", "STOP_DEADLINE"))
    assert grace is not None
    assert stop is not None
    assert int(grace[1]) + int(stop[1]) < int(directives()["signal"].rpartition("@")[2])


STANDINS = {
    "srun": """while [[ $1 == --* ]]; do shift; done; export SLURM_NODEID=0; exec "$@" """,
    "scontrol": """echo "$*" >>"$PLACE/scontrol" """,
    "autophage": 'exec "$PYTHON" "$PLACE/autophage.py" "$@"',
    "python": 'exec "$PYTHON" "$@"',
    "ray": 'exec "$PYTHON" -m ray.scripts.scripts "$@"',
}
AUTOPHAGE = """
import os, pathlib, signal, stat, sys, time
import ray
place = pathlib.Path(os.environ["PLACE"])
token = pathlib.Path(os.environ["RAY_AUTH_TOKEN_PATH"])
ray.init(address=sys.argv[sys.argv.index("--address") + 1], log_to_driver=False)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
signal.signal(signal.SIGUSR1, lambda *_: sys.exit(75))
said = [oct(stat.S_IMODE(token.stat().st_mode)), str(len(token.read_text())), str(len(ray.nodes())), *sys.argv[1:]]
(place / "run.part").write_text("\\n".join(said))
(place / "run.part").rename(place / "run")
time.sleep(float(os.environ["SECONDS_OF_WORK"]))
sys.exit(int(os.environ.get("ENDS_WITH", "0")))
"""
NUMBER = str(os.getpid())
"""Identifier of the job. Its port and folder follow from it, so that test runs on one machine do not collide."""


class Job:
    """The script as a job of one node, started at once. Its stand-ins write to `place`."""

    def __init__(self, place: Path, **variables: str) -> None:
        self.place, self.token = place, place / "state" / f"ray-token-{NUMBER}"
        for name, body in STANDINS.items():
            path = place / "venv" / "bin" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"#!{shutil.which('bash')}\n{body}\n")
            path.chmod(0o755)
        (place / "autophage.py").write_text(AUTOPHAGE)
        slurm = {"JOB_ID": NUMBER, "JOB_NUM_NODES": "1", "CPUS_PER_TASK": "1", "SUBMIT_DIR": str(place)}
        environment = {
            **os.environ,
            **{f"SLURM_{name}": value for name, value in slurm.items()},
            "AUTOPHAGE_VENV": str(place / "venv"),
            "AUTOPHAGE_STATE": str(place / "state"),
            "AUTOPHAGE_HEAD_IP": "127.0.0.1",
            "PLACE": str(place),
            "PYTHON": sys.executable,
            **variables,
        }
        command = ["bash", str(SBATCH), "smoke", str(place / "out"), "--set", "seed=2"]
        with (place / "log").open("w") as log:
            self.process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    @property
    def log(self) -> str:
        return (self.place / "log").read_text()[-3000:]

    def at_work(self) -> list[str]:
        deadline = time.monotonic() + 300
        while not (self.place / "run").exists():
            assert self.process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.2)
        return (self.place / "run").read_text().split("\n")

    def left(self) -> list[str]:
        """Processes of the job's session that are still there; zombies do not count."""
        found = subprocess.run(
            ["ps", "-o", "stat=,args=", "-s", str(self.process.pid)], capture_output=True, text=True, check=False
        )
        return [line for line in found.stdout.splitlines() if not line.startswith("Z")]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_near_the_time_limit_a_job_stops_cleans_up_and_queues_again(tmp_path: Path) -> None:
    job = Job(tmp_path, SECONDS_OF_WORK="300")
    said = job.at_work()
    assert said[:3] == ["0o600", "64", "1"]
    grace = re.search(r"^GRACE=(\d+)", SBATCH.read_text("utf-8"), flags=re.MULTILINE)
    assert grace is not None
    settings = ["--set", f"cluster.grace={grace[1]}", "--set", "seed=2"]
    assert said[3:] == ["run", "smoke", "--address", "auto", "--out", str(tmp_path / "out"), *settings]
    assert Path(f"/tmp/ray-{NUMBER}").is_dir()
    job.process.send_signal(signal.SIGUSR1)
    assert job.process.wait(90) == 0, job.log
    assert (tmp_path / "scontrol").read_text() == f"requeue {NUMBER}\n"
    assert job.left() == []
    assert not job.token.exists()
    assert not Path(f"/tmp/ray-{NUMBER}").exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.long
def test_a_job_that_is_told_to_end_is_not_queued_again(tmp_path: Path) -> None:
    job = Job(tmp_path, SECONDS_OF_WORK="300")
    job.at_work()
    job.process.send_signal(signal.SIGTERM)
    assert job.process.wait(90) == 130, job.log
    assert not (tmp_path / "scontrol").exists()
    assert job.left() == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_job_ends_as_its_run_does(tmp_path: Path) -> None:
    job = Job(tmp_path, SECONDS_OF_WORK="0", ENDS_WITH="2")
    assert job.process.wait(300) == 2, job.log
    assert not (tmp_path / "scontrol").exists()
    assert job.left() == []
    assert not job.token.exists()


def test_the_slurm_script_says_how_it_is_called() -> None:
    done = subprocess.run(["bash", str(SBATCH)], capture_output=True, text=True, env={"PATH": os.environ["PATH"]})
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage: sbatch deploy/slurm/autophage.sbatch RECIPE OUT" in done.stderr


# --- Kubernetes ------------------------------------------------------------------------------------------------------

JOB_KEYS = {
    "entrypoint",
    "submissionMode",
    "backoffLimit",
    "shutdownAfterJobFinishes",
    "ttlSecondsAfterFinished",
    "submitterPodTemplate",
    "rayClusterSpec",
}
GROUP_KEYS = {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "serviceType", "template"}
CONTAINER_KEYS = {
    "name",
    "image",
    "env",
    "ports",
    "resources",
    "securityContext",
    "startupProbe",
    "readinessProbe",
    "livenessProbe",
    "volumeMounts",
}
"""Permitted fields of a ray.io/v1 RayJob and of a pod. Kubernetes drops a misspelt field silently."""
QUANTITY = re.compile(r"\d+(\.\d+)?(m|Ki|Mi|Gi|Ti)?")


def manifests() -> dict[str, dict[str, Any]]:
    documents = list(yaml.safe_load_all(RAYJOB.read_text("utf-8")))
    assert all({"apiVersion", "kind", "metadata", "spec"} == document.keys() for document in documents)
    return {document["kind"]: document for document in documents}


def job() -> dict[str, Any]:
    document = manifests()["RayJob"]
    assert document["apiVersion"] == "ray.io/v1"
    spec: dict[str, Any] = document["spec"]
    return spec


def pods() -> dict[str, dict[str, Any]]:
    """Pod templates of the job: submitter, head, and each group of workers."""
    spec, cluster = job(), job()["rayClusterSpec"]
    return {
        "submitter": spec["submitterPodTemplate"],
        "head": cluster["headGroupSpec"]["template"],
        **{group["groupName"]: group["template"] for group in cluster["workerGroupSpecs"]},
    }


def test_the_ray_job_has_what_its_schema_asks_for() -> None:
    spec = job()
    assert spec.keys() == JOB_KEYS
    assert spec["shutdownAfterJobFinishes"]
    assert spec["backoffLimit"] > 0
    cluster = spec["rayClusterSpec"]
    assert cluster.keys() == {"rayVersion", "headGroupSpec", "workerGroupSpecs"}
    assert tuple(map(int, cluster["rayVersion"].split("."))) >= (2, 52, 0), "older ones ask for no token"
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert group.keys() <= GROUP_KEYS
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
    for group in cluster["workerGroupSpecs"]:
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


@pytest.mark.parametrize("name", pods())
def test_every_pod_is_complete_contained_and_has_the_token(name: str) -> None:
    pod = pods()[name]
    assert pod["metadata"]["labels"]["app.kubernetes.io/name"] == "autophage"
    assert pod["spec"]["securityContext"]["runAsNonRoot"]
    volumes = {volume["name"] for volume in pod["spec"].get("volumes", [])}
    (container,) = pod["spec"]["containers"]
    assert container.keys() <= CONTAINER_KEYS
    assert re.fullmatch(r"[\w./-]+:(?!latest$)[\w.-]+", container["image"])
    for amounts in container["resources"].values():
        assert all(QUANTITY.fullmatch(str(amount)) for amount in amounts.values())
    assert container["resources"]["requests"].get("nvidia.com/gpu") == container["resources"]["limits"].get(
        "nvidia.com/gpu"
    )
    assert not container["securityContext"]["allowPrivilegeEscalation"]
    assert {mount["name"] for mount in container.get("volumeMounts", [])} == volumes
    variables = {variable["name"]: variable for variable in container["env"]}
    assert variables["RAY_AUTH_MODE"]["value"] == "token"
    assert variables["RAY_AUTH_TOKEN"].keys() == {"name", "valueFrom"}
    assert variables["RAY_AUTH_TOKEN"]["valueFrom"]["secretKeyRef"] == {"name": "autophage-ray-token", "key": "token"}
    assert all(isinstance(variable.get("value", ""), str) for variable in container["env"])
    if name != "submitter":
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert container[probe]["httpGet"]["path"] == "/api/local_raylet_healthz"
        assert {"/data", "/dev/shm"} == {mount["mountPath"] for mount in container["volumeMounts"]}
        assert all(variables[name]["value"].startswith("/data/cache/") for name in CACHES)
        claim = next(volume["persistentVolumeClaim"] for volume in pod["spec"]["volumes"] if volume["name"] == "data")
        assert claim["claimName"] == manifests()["PersistentVolumeClaim"]["metadata"]["name"]


def test_the_run_and_its_caches_are_on_storage_that_all_pods_share() -> None:
    assert manifests()["PersistentVolumeClaim"]["spec"]["accessModes"] == ["ReadWriteMany"]
    words = shlex.split(job()["entrypoint"])
    assert words[words.index("--out") + 1].startswith("/data/")


def test_the_health_endpoint_needs_no_token() -> None:
    """A probe sends none, so Ray must let it pass."""
    found = find_spec("ray")
    assert found is not None
    assert found.origin is not None
    agent = Path(found.origin).parent / "dashboard" / "http_server_agent.py"
    exempt = re.search(r"PATHS\w* = \[(.*?)\]", agent.read_text("utf-8"), flags=re.DOTALL)
    assert exempt is not None
    assert '"/api/local_raylet_healthz"' in exempt[1]


# --- images ----------------------------------------------------------------------------------------------------------


def test_the_images_are_named_after_this_version() -> None:
    package = (ROOT / "engine" / "autophage" / "__init__.py").read_text("utf-8")
    version = re.search(r'^__version__ = "(.*)"', package, flags=re.MULTILINE)
    assert version is not None
    for path in TEXTS:
        for tag in re.findall(r"autophage:(\d\S*?)-[cg]pu", path.read_text("utf-8")):
            assert tag == version[1], path
