"""Models that bring code of their own (`auto_map` in their configuration): never run here, and told apart from broken ones.

transformers would import Python files of the model's folder or hub repository with `trust_remote_code`. Every call in this
package leaves it off, and there is no switch for it: a model's weights are data, and stay data.
"""

from __future__ import annotations

import json
from pathlib import Path

from autophage.errors import UserError

CONFIGURATIONS = ("config.json", "tokenizer_config.json")


def refuse_own_code(path: str, error: BaseException) -> None:
    """Raise a `UserError` where `error` is transformers' refusal to run the code that the model at `path` brings."""
    if "trust_remote_code" not in str(error) and "custom code" not in str(error):
        return
    files = ", ".join(code_files(path))
    raise UserError(
        f"model {path!r}: wants Python code of its own to be run{f' ({files})' if files else ''}, as auto_map in its "
        "configuration says, and autophage runs no code that comes with a model (trust_remote_code is off). Give a model "
        "whose architecture transformers has, or convert this one and take auto_map out of its config.json and "
        "tokenizer_config.json."
    ) from error


def code_files(path: str) -> list[str]:
    """The Python files that a model folder's configurations name; none where they cannot be read, as of a hub id."""
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
