"""Refusal of models that bring their own code (`auto_map` in their configuration).

transformers would import Python files of the model's folder or repository under `trust_remote_code`. Every call in
this package leaves that option off, and no setting turns it on. Weights are only ever read as data. The error
distinguishes such a model from a broken one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autophage.errors import UserError

CONFIGURATIONS = ("config.json", "tokenizer_config.json")


@contextmanager
def own_code_refused(path: str) -> Iterator[None]:
    """Explain an error of the body, if the model at `path` brings its own code. Any other error passes."""
    try:
        yield
    except Exception as error:
        refuse_own_code(path, error)
        raise


def refuse_own_code(path: str, error: BaseException) -> None:
    """Explain an `error` that transformers raised while loading `path`, if the model brings its own code.

    Any other error is ignored, and the call returns.

    Raises:
        UserError: The model brings its own code.
    """
    if "trust_remote_code" not in str(error) and "custom code" not in str(error):
        return
    files = ", ".join(code_files(path))
    raise UserError(
        f"model {path!r}: needs Python code of its own{f' ({files})' if files else ''}, named by auto_map in its "
        "configuration. autophage never runs a model's code (trust_remote_code is off). Use a model whose architecture is "
        "part of transformers, or convert this one and remove auto_map from its config.json and tokenizer_config.json."
    ) from error


def code_files(path: str) -> list[str]:
    """Return the names of the Python files that `auto_map` entries of the model at `path` refer to.

    The list is sorted. It is empty if the model's configurations are unreadable, as for a hub id.
    """
    named: set[str] = set()
    for configuration in CONFIGURATIONS:
        try:
            mapped = json.loads((Path(path) / configuration).read_text("utf-8")).get("auto_map", {})
        except (OSError, ValueError, AttributeError):
            continue
        values = mapped.values() if isinstance(mapped, dict) else [mapped]
        for value in values:
            entries = value if isinstance(value, list) else [value]
            named |= {f"{entry.rpartition('.')[0]}.py" for entry in entries if isinstance(entry, str)}
    return sorted(named)
