"""Families of models that the installed vLLM serves, and their adapters, read from vLLM's source.

vLLM is not imported: that takes longer than all other checks of a run together. Its registry is a literal in `registry.py`, and
support for LoRA is a base class of a model's class, so the syntax trees of a few files answer in milliseconds. An answer is None
where the source of this version cannot be read this way. Then vLLM itself answers when the sampler starts.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

REGISTRY = "vllm.model_executor.models.registry"
MODELS = "vllm.model_executor.models"
TRANSFORMERS = f"{MODELS}.transformers"
CPU_ATTENTION = "vllm.v1.attention.backends.cpu_attn"
ADAPTERS = "SupportsLoRA"
"""Base class of the models whose adapters vLLM serves."""
FOLLOWED = (f"{MODELS}.", "vllm.models.", "transformers.models.")
"""Modules whose own imports count as those of a model."""
GPU_LAYERS = {"MambaMixer"}
"""Layers whose kernels vLLM has for GPUs alone. Those of Mamba 2 and of gated delta nets run on a CPU."""

EXPERTS = "FusedMoE"
"""Beginning of the names of vLLM's layers of experts."""
EMPTY = ast.Module([], [])


def is_registered(architecture: str) -> bool | None:
    """Return True if vLLM has a class for an architecture, as `architectures` in a `config.json` names it.

    vLLM runs some of the others with the code of transformers.
    """
    found = _registered()
    return architecture in found if found else None


def runs_transformers_code(architecture: str) -> bool:
    """Return True if vLLM runs an architecture with the code of transformers, whose classes it changes in its process."""
    module, _ = _registered().get(architecture, (TRANSFORMERS, ""))
    return module == TRANSFORMERS


def serves_adapters(architecture: str) -> bool | None:
    """Return True if vLLM serves LoRA adapters of a registered architecture; None for another one."""
    module, name = _registered().get(architecture, ("", ""))
    try:
        return _has_base(module, name, ADAPTERS) if module else None
    except LookupError:
        return None


def needs_gpu(architecture: str) -> str | None:
    """Return a layer of a registered architecture that vLLM computes on GPUs alone; None if it has none."""
    module, _ = _registered().get(architecture, ("", ""))
    tree = _tree(module) if module else None
    imported = {
        alias.name for node in ast.walk(tree or EMPTY) if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    return min(GPU_LAYERS & imported, default=None)


def has_experts(architecture: str) -> bool:
    """Return True if a registered architecture is a mixture of experts.

    With adapters vLLM computes experts by Triton, even if no adapter sits on them, and has no Triton on a CPU.
    """
    module, _ = _registered().get(architecture, ("", ""))
    return any(name.startswith(EXPERTS) for name in _names_imported(module))


def missing_package(architecture: str) -> str | None:
    """Return a package that the class of a registered architecture imports and that is not installed; None if there is none.

    Only imports at the top of a file count, in the models of vLLM and in the files of transformers that they name.
    """
    module, _ = _registered().get(architecture, ("", ""))
    waiting, seen = [module] if module else [], set[str]()
    while waiting:
        module = waiting.pop()
        if module in seen or (tree := _tree(module)) is None:
            continue
        seen.add(module)
        for name in _imported_on_top(tree, module):
            if not _is_installed(name.partition(".")[0]):
                return name.partition(".")[0]
            if name.startswith(FOLLOWED):
                waiting.append(name)
    return None


@cache
def cpu_head_sizes() -> frozenset[int]:
    """Return the head sizes for which vLLM's attention on a CPU has a kernel. The set is empty if they are unknown."""
    for node in ast.walk(_tree(CPU_ATTENTION) or EMPTY):
        if isinstance(node, ast.FunctionDef) and node.name == "get_supported_head_sizes":
            sizes = [_literal(one.value) for one in ast.walk(node) if isinstance(one, ast.Return) and one.value]
            if len(sizes) == 1 and isinstance(sizes[0], list):
                return frozenset(size for size in sizes[0] if isinstance(size, int))
    return frozenset()


@cache
def _registered() -> dict[str, tuple[str, str]]:
    """Return the module and the class of each architecture. Values of the registry's other dictionaries are no such pairs."""
    found: dict[str, tuple[str, str]] = {}
    for node in (_tree(REGISTRY) or EMPTY).body:
        if not (isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Dict)):
            continue
        for key, value in zip(node.value.keys, node.value.values, strict=True):
            name, pair = _literal(key), _literal(value)
            if isinstance(name, str) and isinstance(pair, tuple) and len(pair) == 2:
                module, model = map(str, pair)
                found[name] = (module if module.startswith("vllm.") else f"{MODELS}.{module}", model)
    return found


def _literal(node: ast.expr | None) -> object:
    try:
        return None if node is None else ast.literal_eval(node)
    except ValueError:
        return None


@cache
def _has_base(module: str, name: str, wanted: str) -> bool:
    """Return True if a class of vLLM has a base of the name `wanted`, itself or through its other bases.

    Raises:
        LookupError: the source of the class, or of one of its bases in vLLM, is not found.
    """
    if name == wanted:
        return True
    if (tree := _tree(module)) is None:
        raise LookupError(module)
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
            return any(_has_base(module, base, wanted) for base in bases)
    for origin, original in _imported(tree, module, name):
        return origin.partition(".")[0] == "vllm" and _has_base(origin, original, wanted)
    raise LookupError(f"{module}.{name}")


def _imported(tree: ast.Module, module: str, name: str) -> Iterator[tuple[str, str]]:
    """Yield the module, and the name there, from which a module imports `name`."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom):
            continue
        for alias in node.names:
            if (alias.asname or alias.name) == name:
                yield _absolute(node, module), alias.name


def _names_imported(module: str) -> set[str]:
    tree = _tree(module) if module else None
    nodes = ast.walk(tree or EMPTY)
    return {alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names}


def _imported_on_top(tree: ast.Module, module: str) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield _absolute(node, module)


@cache
def _is_installed(package: str) -> bool:
    return package == "__future__" or find_spec(package) is not None


def _absolute(node: ast.ImportFrom, module: str) -> str:
    if not node.level:
        return node.module or ""
    path = _file(module)
    parts = module.split(".")
    package = parts if path is not None and path.name == "__init__.py" else parts[:-1]
    return ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])


@cache
def _tree(module: str) -> ast.Module | None:
    path = _file(module)
    try:
        return None if path is None else ast.parse(path.read_text("utf-8"))
    except (OSError, ValueError, SyntaxError):
        return None


def _file(module: str) -> Path | None:
    """Return the source file of a module; None if there is none. No module is imported."""
    found = find_spec(module.partition(".")[0])
    if found is None or not found.submodule_search_locations:
        return None
    at = Path(found.submodule_search_locations[0]).joinpath(*module.split(".")[1:])
    return next((file for file in (at.with_suffix(".py"), at / "__init__.py") if file.is_file()), None)
