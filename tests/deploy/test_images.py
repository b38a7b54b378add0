"""Images: what Docker admits of a checkout suffices for a wheel that works, and what runs write stays on the volume.

Docker is not needed. The wheel is made from a copy of the files that `.dockerignore` and the COPY lines admit.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from fnmatch import translate
from pathlib import Path
from typing import Any

import pytest
from tests.deploy.installer import CACHES, outside, uv, uv_variables

ROOT = Path(__file__).parents[2]
DOCKERFILES = sorted((ROOT / "deploy" / "docker").glob("Dockerfile.*"))
INSTRUCTIONS = {
    *("ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "RUN", "SHELL"),
    *("STOPSIGNAL", "USER", "VOLUME", "WORKDIR"),
}
"""ADD is left out: it fetches and unpacks in silence."""
SECRETS = re.compile(r"password|secret|credential|api[_-]?key|token", re.IGNORECASE)


def instructions(path: Path) -> list[tuple[str, str]]:
    text = re.sub(r"^\s*#.*\n", "", path.read_text("utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    found = []
    for line in filter(None, map(str.strip, text.splitlines())):
        name, _, rest = line.partition(" ")
        found.append((name, " ".join(rest.split())))
    return found


def ignored(path: str) -> bool:
    """True if .dockerignore keeps `path` out. A rule also holds for all below its path. The last matching rule wins."""
    verdict = False
    places = [path, *map(str, Path(path).parents)][:-1] if "/" in path else [path]
    for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        rule = line.removeprefix("!")
        anywhere = rule.startswith("**/")
        parts = rule.removeprefix("**/").split("/")
        for place in places:
            steps = place.split("/")[-len(parts) :] if anywhere else place.split("/")
            if len(steps) == len(parts) and all(map(re.match, map(translate, parts), steps)):
                verdict = not line.startswith("!")
    return verdict


def admitted(source: str) -> Iterator[str]:
    """Files that `COPY source` finds, relative to the checkout."""
    place = ROOT / source
    for file in sorted(place.rglob("*")) if place.is_dir() else [place]:
        name = file.relative_to(ROOT).as_posix()
        if file.is_file() and not ignored(name):
            yield name


def copied(dockerfile: Path) -> dict[str, str]:
    """Files that the image is built from: place in the working folder of the build, and file of the checkout."""
    files = {}
    for name, rest in instructions(dockerfile):
        if name != "COPY" or "--from" in rest:
            continue
        *sources, target = rest.split()
        for source in sources:
            for file in admitted(source):
                inner = file.removeprefix(source).lstrip("/")
                files[(Path(target) / (inner or file)).as_posix()] = file
    return files


def last_stage(dockerfile: Path) -> dict[str, str]:
    steps = instructions(dockerfile)
    return dict(steps[max(index for index, (name, _) in enumerate(steps) if name == "FROM") :])


def variables(dockerfile: Path) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in shlex.split(last_stage(dockerfile)["ENV"]))


# --- the files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_dockerfiles(path: Path) -> None:
    steps = instructions(path)
    assert {name for name, _ in steps} <= INSTRUCTIONS
    assert steps[0][0] == "FROM"
    stages = set()
    for name, rest in steps:
        if name == "FROM":
            image, _, stage = rest.partition(" AS ")
            assert re.fullmatch(r"[\w./-]+:\d+\.\d+\.\d+[\w.-]*", image), f"{image}: name the version to the last digit"
            stages.add(stage)
        if name == "COPY":
            *sources, _ = (word for word in rest.split() if not word.startswith("--"))
            if origin := re.search(r"--from=(\S+)", rest):
                assert origin[1] in stages
                continue
            for source in sources:
                assert list(admitted(source)), f"COPY {source}: no such thing, or .dockerignore keeps it out"
        assert not SECRETS.search(rest) or name == "RUN", f"{name} {rest}"
    last = last_stage(path)
    assert last["USER"] not in ("root", "0")
    assert last["ENTRYPOINT"] == '["autophage"]'
    extra = path.suffix.removeprefix(".")
    assert any(f"--extra {extra}" in rest for _, rest in steps)


@pytest.mark.parametrize(
    ("path", "kept_out"),
    [
        *((path, True) for path in (".git", ".venv", "runs", "deploy", "tests", ".ci", "docs", ".git/config")),
        *((path, True) for path in ("bench/results/a.jsonl", "recipes/results/a.json", "engine/__pycache__")),
        *((path, True) for path in ("engine/autophage/a.pyc", "bench/harness/__pycache__/a.py")),
        *((path, False) for path in ("pyproject.toml", "bench", "bench/first_gpu.py", "engine/autophage/loop.py")),
    ],
)
def test_the_build_context_holds_what_the_wheel_needs_and_nothing_else(path: str, kept_out: bool) -> None:
    assert ignored(path) is kept_out


# --- the wheel ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built by hatchling from a copy of exactly the files that the images get."""
    folder = tmp_path_factory.mktemp("image")
    for place, file in copied(DOCKERFILES[0]).items():
        (folder / "source" / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / file, folder / "source" / place)
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / "dist")]
    done = subprocess.run(command, cwd=folder / "source", capture_output=True, text=True, env=outside())
    assert done.returncode == 0, done.stderr
    (made,) = (folder / "dist").iterdir()
    return made


def environment(folder: Path, wheel: Path) -> Path:
    """A new environment with the wheel, which sees the packages of this one. Returns its folder of commands."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--isolated", "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*pip, "--disable-pip-version-check", str(wheel)], check=True)
    # A path in a .pth file is only appended: the editable install of this checkout, a .pth file itself, stays unread.
    (site,) = (folder / "lib").glob("python*/site-packages")
    (site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


def try_commands(bin: Path, folder: Path) -> None:
    """Run what a user would run first, outside of the checkout."""
    folder.mkdir()

    def said(*arguments: str) -> str:
        done = subprocess.run(
            [str(bin / "autophage"), *arguments], cwd=folder, capture_output=True, text=True, env=outside()
        )
        assert done.returncode == 0, (arguments, done.stdout[-1000:], done.stderr[-2000:])
        return done.stdout

    recipes = {path.stem for path in (ROOT / "recipes").glob("*.toml")}
    assert {recipe["name"] for recipe in json.loads(said("recipes", "--json"))} == recipes
    assert 'name = "demo"' in said("show", "demo")
    assert said("plan", "demo").startswith("demo: ")
    assert "--json" in said("bench", "--help")
    benchmarks = {one["name"]: Path(one["path"]) for one in json.loads(said("bench", "--json"))}
    assert benchmarks.keys() == {path.stem for path in (ROOT / "bench").glob("*.py")}
    assert all(path.is_relative_to(bin.parent) for path in benchmarks.values()), "a benchmark of the checkout"
    assert "autophage bench loop" in said("bench", "loop", "--help")


@pytest.mark.thorough
def test_the_wheel_of_the_images_works(wheel: Path, tmp_path: Path) -> None:
    try_commands(environment(tmp_path / "venv", wheel), tmp_path / "elsewhere")


def test_both_images_are_built_from_the_same_files() -> None:
    cpu, gpu = map(copied, DOCKERFILES)
    assert cpu == gpu
    assert "bench/first_gpu.py" in cpu


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_the_commands_of_the_cpu_image_make_an_environment(wheel: Path, tmp_path: Path) -> None:
    """Run the installing RUN lines of the image, with this machine's uv and indexes. The network is needed."""
    own = uv_variables(links=True)
    subprocess.run([uv(), "venv", "--quiet", "--python", sys.executable, str(tmp_path / "venv")], check=True, env=own)
    lines = [rest for name, rest in instructions(DOCKERFILES[0]) if name == "RUN" and "uv pip install --python" in rest]
    assert len(lines) == 2
    for line in lines:
        command = [word.replace("/opt/autophage", str(tmp_path / "venv")) for word in shlex.split(line)[1:]]
        if "UV_FIND_LINKS" in own:  # the CPU build of torch comes from there
            command = [word for word in command if word != "--torch-backend=cpu"]
        subprocess.run([uv(), *command], check=True, cwd=wheel.parents[1] / "source", env=own)
    try_commands(tmp_path / "venv" / "bin", tmp_path / "elsewhere")


# --- the volume -----------------------------------------------------------------------------------------------------

FOLDERS = """
import json
import huggingface_hub.constants, torch, torch._inductor.runtime.cache_dir_utils, triton.knobs, vllm.envs
from pathlib import Path
from autophage.host.cache import cache_folder
print(json.dumps({
    "autophage": str(cache_folder()),
    "huggingface": huggingface_hub.constants.HF_HOME,
    "inductor": torch._inductor.runtime.cache_dir_utils.cache_dir(),
    "triton": triton.knobs.cache.dir,
    "vllm": vllm.envs.VLLM_CACHE_ROOT,
    "vllm's settings": vllm.envs.VLLM_CONFIG_ROOT,
    "home": str(Path.home()),
}))
"""
"""Folders to which the libraries themselves say that they write."""


def test_both_images_keep_models_and_kernels_on_the_volume() -> None:
    cpu, gpu = map(variables, DOCKERFILES)
    assert gpu.pop("CUDA_CACHE_PATH").startswith("/data/cache/")
    assert cpu == gpu
    assert all(gpu[name].startswith("/data/cache/") for name in CACHES)
    assert gpu["HOME"] == "/data"


@pytest.mark.long
def test_what_libraries_keep_is_on_the_volume(tmp_path: Path) -> None:
    gpu = variables(DOCKERFILES[1])
    own = {name: value.replace("/data", str(tmp_path)) for name, value in gpu.items() if name != "PATH"}
    named = (*("AUTOPHAGE_", "HF_", "VLLM_", "TRITON_", "TORCHINDUCTOR_", "XDG_"), "HOME", "USER")
    bare = {name: value for name, value in os.environ.items() if not name.startswith(named)}
    done = subprocess.run([sys.executable, "-c", FOLDERS], capture_output=True, text=True, env=bare | own)
    assert done.returncode == 0, done.stderr[-2000:]
    folders: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert {name: folder for name, folder in folders.items() if not Path(folder).is_relative_to(tmp_path)} == {}


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_the_volume_is_declared(path: Path) -> None:
    assert last_stage(path)["VOLUME"] == "/data"


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_the_volume_admits_the_user_and_group_0(path: Path) -> None:
    """OpenShift starts containers under a user id of its own choice, in group 0."""
    lines = [rest for name, rest in instructions(path) if name == "RUN"]
    assert any("--owner=autophage --group=root --mode=775 /data" in line for line in lines)
    assert variables(path)["USER"], "getpass.getuser() fails for an id without an entry in /etc/passwd"
