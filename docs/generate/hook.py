"""MkDocs hook: fills in what is generated, and adds the pages whose text lies elsewhere in the repository.

A page asks for generated text by a line `<!-- generated: NAME -->`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import column_reference
import command_line
import gate_reference
import metric_reference
import recipe_reference
import room_reference
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from pages import PAGES, content

MARK = re.compile(r"^<!-- generated: ([a-z-]+) -->$", re.MULTILINE)
GENERATED: dict[str, Callable[[], str]] = {
    "answers-columns": column_reference.answers_columns,
    "broken-columns": column_reference.broken_columns,
    "command-line": command_line.verbs,
    "corpus-columns": column_reference.corpus_columns,
    "gates": gate_reference.kinds,
    "metrics": metric_reference.families,
    "metrics-columns": column_reference.metrics_columns,
    "numbers-columns": column_reference.numbers_columns,
    "recipe": recipe_reference.tables,
    "rooms": room_reference.rooms,
    "score-columns": column_reference.score_columns,
    "training-columns": column_reference.training_columns,
}


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages of `PAGES`."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=content(source)))
    return files


def on_page_markdown(markdown: str, /, **_: Any) -> str:
    """Replace every mark by what it names."""
    return MARK.sub(_generated, markdown)


def _generated(mark: re.Match[str]) -> str:
    if mark[1] not in GENERATED:
        raise PluginError(f"{mark[0]}: there is no such text; there are {', '.join(GENERATED)}")
    return GENERATED[mark[1]]()
