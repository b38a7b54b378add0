"""The models that the installed vLLM can serve, told from a model's configuration before anything starts.

vLLM is not imported here: that takes many seconds. Its source tells which class serves an architecture, and a class that
takes adapters inherits `SupportsLoRA`. Whatever the source does not tell plainly passes, and the engine decides at its start.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from autophage.errors import UserError
from autophage.recipe.checks.training import HEAD_SIZES

MODELS = Path("model_executor", "models")
"""Folder of vLLM's models, with the registry of their architectures."""
INTERFACE = "SupportsLoRA"
"""Base of vLLM's classes that take adapters."""


def refuse_unserved(path: str, config: Any, *, adapted: bool, cpu: bool) -> None:
    """Refuse a model that vLLM cannot serve, or cannot serve with adapters.

    Args:
        path: Folder or hub id, for messages.
        config: Configuration of transformers.
        adapted: True if an arm trains an adapter.
        cpu: True if the sampler runs on a CPU.

    Raises:
        UserError: The model has no attention; or vLLM serves it without adapters only; or its heads have a size that vLLM's
            CPU backend does not serve.
    """
    text, family = config.get_text_config(), (config.architectures or [config.model_type])[0]
    heads = getattr(text, "num_attention_heads", None)
    if not heads:
        raise UserError(
            f"model.path = {path!r}: a {family} has no attention heads. The sampler's memory is sized by them, so only models "
            "with attention can be run. Use one."
        )
    if adapted and takes_adapters(family) is False:
        raise UserError(
            f"model.path = {path!r}: vLLM serves a {family}, but not with LoRA adapters. Train all weights instead: "
            'model.method = "full".'
        )
    size = getattr(text, "head_dim", None) or getattr(text, "hidden_size", 0) // heads
    if cpu and not getattr(text, "kv_lora_rank", None) and 0 < size <= max(HEAD_SIZES) and size not in HEAD_SIZES:
        raise UserError(
            f"model.path = {path!r}: its attention heads have {size} dimensions. On a CPU vLLM serves heads of "
            f"{', '.join(map(str, HEAD_SIZES))}. Use another model, or a GPU."
        )


@cache
def takes_adapters(architecture: str) -> bool | None:
    """Return True if vLLM's class for an architecture takes adapters, False if it does not; None if its source does not tell."""
    folder = _folder()
    if folder is None:
        return None
    place = _registered(folder, architecture)
    if place is None or not (folder / f"{place[0]}.py").is_file():
        return None
    bases = set(_bases(folder, *place, frozenset()))
    if INTERFACE in bases:
        return True
    return None if "" in bases else False


def _folder() -> Path | None:
    """Return the folder of the installed vLLM's models; None without vLLM."""
    found = find_spec("vllm")
    places = found.submodule_search_locations if found else None
    return Path(next(iter(places))) / MODELS if places else None


@cache
def _module(file: Path) -> ast.Module:
    return ast.parse(file.read_text("utf-8"))


def _registered(folder: Path, architecture: str) -> tuple[str, str] | None:
    """Return the module and class that serve an architecture, as vLLM's registry lists them."""
    for node in ast.walk(_module(folder / "registry.py")):
        if not isinstance(node, ast.Dict):
            continue
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and key.value == architecture and isinstance(value, ast.Tuple):
                module, name = ast.literal_eval(value)[:2]
                return module, name
    return None


def _bases(folder: Path, module: str, name: str, seen: frozenset[tuple[str, str]]) -> Iterator[str]:
    """Yield the names of all bases of a class, over the modules of `folder`. A base that cannot be followed is ""."""
    file = folder / f"{module}.py"
    if (module, name) in seen or not file.is_file():
        yield ""
        return
    seen |= {(module, name)}
    tree = _module(file)
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name == name:
            if "supports_lora" in ast.dump(node):
                yield ""
            for base in node.bases:
                yield ast.unparse(base).rpartition(".")[2]
                if isinstance(base, ast.Name):
                    yield from _bases(folder, module, base.id, seen)
            return
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    yield from _imported(folder, node, alias.name, seen)
                    return
    yield ""


def _imported(folder: Path, node: ast.ImportFrom, name: str, seen: frozenset[tuple[str, str]]) -> Iterator[str]:
    """Yield the bases of a class that another module of `folder` defines. Interfaces have none that matter."""
    module = (node.module or "").rpartition(".")[2]
    if module not in ("interfaces", "interfaces_base"):
        yield from _bases(folder, module, name, seen)
