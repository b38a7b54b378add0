"""The frame of a page: one self-contained HTML file that is inert.

jinja2 escapes all text. Figures travel as JSON that cannot end its `<script>` element. A content security policy admits
only scripts with known hashes, and no requests. plotly.js is inlined once. The content is the caller's.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from autophage.display import plural, visible
from autophage.report.facts import words
from autophage.report.figures.colours import variables
from autophage.report.figures.panels import Figure

STYLE, SCRIPT = "report.css", "report.js"


def rendered(template: str, figures: Sequence[Figure], **content: Any) -> str:
    """Return a page as HTML text, with its figures, its style and its scripts inside.

    Only text that the package wrote is marked safe: its style, its scripts, and JSON from `script_json`.

    Args:
        template: Name of a jinja2 template of this package.
        figures: Figures that the template draws.
        content: Variables of the template.
    """
    script = _resource(SCRIPT)
    return _environment().get_template(template).render(
        **content,
        payload=Markup(words.script_json({figure.key: _plots(figure) for figure in figures})),
        style=Markup(_variables() + _resource(STYLE)),
        plotly=Markup(_plotly()),
        script=Markup(script),
        policy=_policy([_plotly(), script]),
    )  # fmt: skip


def _plots(figure: Figure) -> list[dict[str, Any]]:
    return [{"data": panel.traces, "layout": panel.layout} for panel in figure.panels]


@cache
def _plotly() -> str:
    from plotly.offline import get_plotlyjs  # slow to import, and only the page needs it

    text: str = get_plotlyjs()
    return text.replace("</script", "<\\/script").replace("\r\n", "\n")


def _resource(name: str) -> str:
    return resources.files("autophage.report").joinpath(name).read_text("utf-8")


def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_resource),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(visible=visible, plural=plural)
    return environment


def _variables() -> str:
    """Return the palette as a CSS rule for light and dark screens. Print is always light."""
    light = ";".join(f"{key}:{value}" for key, value in variables(dark=False).items())
    dark = ";".join(f"{key}:{value}" for key, value in variables(dark=True).items())
    return f":root{{{light}}}@media (prefers-color-scheme:dark){{:root:not([data-print]){{{dark}}}}}\n"


def _policy(scripts: list[str]) -> str:
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    admitted = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return (
        f"default-src 'none'; script-src {admitted}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )
