"""The command-line reference, from the parser itself."""

from __future__ import annotations

import re

from text import prose

from autophage.cli.app import VERBS, build_app


def verbs() -> str:
    """A section for each verb, in the order of `autophage --help`."""
    app = build_app()
    return "\n\n".join(_section(app.generate_docs(heading_level=1, recursive=True), verb) for verb in VERBS)


def _section(whole: str, verb: str) -> str:
    found = re.search(rf"^## autophage {verb}$(.*?)(?=^## |\Z)", whole, flags=re.MULTILINE | re.DOTALL)
    assert found is not None, f"the generated documentation lacks {verb}"
    body = found[1].strip().replace("**Arguments**:", "Arguments:").replace("**Parameters**:", "Options:")
    lines = [line if line.startswith(("* ", "    ", "```", "autophage")) else prose(line) for line in body.splitlines()]
    return f"## {verb}\n\n" + "\n".join(lines) + f"\n\nExample: `{VERBS[verb][1]}`"
