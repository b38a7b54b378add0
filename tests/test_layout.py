"""Structure of the code: direction of imports, light packages, and length of files."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ENGINE = ROOT / "engine" / "autophage"
KERNELS = ROOT / "kernels" / "autophage_kernels"
FILES = sorted([*ENGINE.rglob("*.py"), *KERNELS.rglob("*.py")])
LINES = 400
ROOMS = 30
LOOP_LINES = 120

LIGHT = ("store", "recipe", "report", "metrics", "learners", "live", "host", "track")
"""Packages that read a finished run, or need no GPU stack. They import neither of `HEAVY`, not even inside a function."""
HEAVY = {"ray", "vllm"}

TIERS = (
    {"__main__"},
    {"cli"},
    {"__init__", "loop"},
    {"runs"},
    {"track"},
    {"cluster", "report", "live"},
    {"stages", "learners"},
    {"gates", "makers"},
    {"scoring"},
    {"sampler", "trainer"},
    {"metrics", "plan"},
    {"data"},
    {"store"},
    {"recipe"},
    {"host"},
    {"seeds", "progress", "display"},
    {"errors"},
)
"""Parts of the engine from top to bottom. A part imports parts of lower tiers only."""

TORCH_FREE = (
    "autophage",
    "autophage.recipe",
    "autophage.store",
    "autophage.host.doctor",
    "autophage.runs.export",
    "autophage.plan",
    "autophage.plan.memory",
    "autophage.gates",
    "autophage.report",
    "autophage.live",
    "autophage.track.follower",
    "autophage.track.processes",
    "autophage.cli",
    "autophage.learners.loop",
)


def imports(path: Path) -> set[str]:
    """Return modules that a file imports, also inside functions. Imports for type checkers do not count."""
    tree = ast.parse(path.read_text("utf-8"), str(path))
    typing_only = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for child in node.body
        for inner in ast.walk(child)
    }
    modules: set[str] = set()
    for node in ast.walk(tree):
        if node in typing_only:
            continue
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute here"
            assert node.module is not None
            modules |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return modules


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ENGINE.parent).with_suffix("").parts).removesuffix(".__init__")


def imported_modules(path: Path) -> set[str]:
    """Return engine modules that a file imports. A package counts only if one of its own names is imported."""
    known = {module_name(other) for other in FILES if other.is_relative_to(ENGINE)}
    found = imports(path) & known
    packages = {name for name in found if any(other.startswith(f"{name}.") for other in found)}
    tree = ast.parse(path.read_text("utf-8"))
    own_names = {
        node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and any(f"{node.module}.{alias.name}" not in known for alias in node.names)
    }
    return found - (packages - own_names) - {module_name(path)}


def module_of(name: str) -> str:
    """The module of a part of the engine; the public API's is the package itself."""
    return "autophage" if name == "__init__" else f"autophage.{name}"


def part(path: Path) -> str:
    """Return the engine package of a file, or its own module name."""
    first = path.relative_to(ENGINE).parts[0]
    return first.removesuffix(".py")


def present(name: str) -> list[Path]:
    """Return the files of a part of the engine. There must be at least one."""
    files = [path for path in FILES if path.is_relative_to(ENGINE) and part(path) == name]
    assert files, f"there is no autophage.{name}"
    return files


def test_there_is_something_to_look_at() -> None:
    assert len(FILES) > 10


@pytest.mark.parametrize("name", LIGHT)
def test_reading_a_run_needs_neither_ray_nor_vllm(name: str) -> None:
    for path in present(name):
        heavy = {module for module in imports(path) if module.split(".")[0] in HEAVY}
        assert not heavy, f"{path} imports {heavy}"


@pytest.mark.parametrize(("tier", "name"), [(n, name) for n, tier in enumerate(TIERS) for name in sorted(tier)])
def test_imports_point_one_way(tier: int, name: str) -> None:
    above = {module_of(other) for parts in TIERS[: tier + 1] for other in parts - {name}}
    for path in present(name):
        wrong = {module for module in imported_modules(path) if ".".join(module.split(".")[:2]) in above}
        assert not wrong, f"{path} imports {wrong}, which stand above or beside it"


def test_every_part_of_the_engine_has_a_tier() -> None:
    placed = [name for tier in TIERS for name in tier]
    assert len(placed) == len(set(placed))
    assert {part(path) for path in FILES if path.is_relative_to(ENGINE)} == set(placed)
    assert len(placed) <= ROOMS


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {module_name(path): imported_modules(path) for path in FILES if path.is_relative_to(ENGINE)}
    TopologicalSorter(graph).prepare()  # raises CycleError with the circle


def test_a_name_means_one_thing() -> None:
    places: dict[str, list[str]] = {}
    for path in FILES:
        for node in ast.parse(path.read_text("utf-8")).body:
            for name in class_names(node):
                places.setdefault(name, []).append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def class_names(node: ast.stmt) -> list[str]:
    """Names of the classes and of the aliases of types that a statement defines."""
    if isinstance(node, ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    named = [target.id for target in targets if isinstance(target, ast.Name)]
    return [name for name in named if name[0].isupper() and not name.isupper() and len(name) > 1]


def test_the_kernels_import_nothing_of_the_engine() -> None:
    for path in KERNELS.rglob("*.py"):
        wrong = {module for module in imports(path) if module.split(".")[0] == "autophage"}
        assert not wrong, f"{path} imports {wrong}"


@pytest.mark.parametrize("name", TORCH_FREE)
def test_importing_it_imports_no_torch(name: str) -> None:
    script = f"import {name}, sys; print(*({{'torch', 'ray', 'vllm', 'transformers', 'trl'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_grows_beyond_one_idea(path: Path) -> None:
    lines = len(path.read_text("utf-8").splitlines())
    assert lines <= LINES, f"{path}: {lines} lines; it usually holds two ideas by then"


def test_the_loop_stays_the_whole_idea_on_a_page_or_two() -> None:
    (path,) = present("loop")
    assert len(path.read_text("utf-8").splitlines()) <= LOOP_LINES


def test_imports_are_found_wherever_they_stand(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text(
        "from __future__ import annotations\nfrom typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import vllm\ndef work():\n    import ray.data\n    from autophage import cli\n"
    )
    assert {"ray.data", "autophage.cli"} <= imports(file)
    assert "vllm" not in imports(file)
