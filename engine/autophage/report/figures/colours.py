"""Colour, dash and marker of each arm, the same in every figure.

Colours are CSS variables with light and dark values, after the palette of Okabe and Ito for colour-blind readers.
Markers and dashes repeat the distinction for print. Control arms are neutral and dashed. Stages of work have their own
colours.
"""

from __future__ import annotations

from dataclasses import dataclass

LIGHT = ("#c8500a", "#0b6aa8", "#00876a", "#b0568f", "#b98300", "#3f9fcf", "#6a56a5", "#7a5c2e")
DARK = ("#ff9152", "#63b3f0", "#43cfa5", "#ea9fcd", "#f0bd4f", "#98d8f8", "#b9a6f2", "#d3ae73")
CONTROL_LIGHT = ("#5b6470", "#8a929d")
CONTROL_DARK = ("#a9b2bd", "#7d8793")
STAGE_LIGHT = {
    "base": "#c9ced6", "train": "#33415c", "swap": "#c7522a", "sample": "#5c7fa8",
    "measure": "#9fbcd3", "commit": "#d9a441", "other": "#b9a9c9",
}  # fmt: skip
STAGE_DARK = {
    "base": "#4a515c", "train": "#8ea6cf", "swap": "#e8825c", "sample": "#5f86b5",
    "measure": "#3b5874", "commit": "#d9a441", "other": "#8d7fa0",
}  # fmt: skip

MARKS = {
    "circle": "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0", "square": "M-3.5-3.5h7v7h-7z", "diamond": "M0-5L4.5 0 0 5-4.5 0z",
    "triangle-up": "M0-4.5L4.5 3.5h-9z", "triangle-down": "M0 4.5L4.5-3.5h-9z",
    "pentagon": "M0-4.5L4.5-1 3 4h-6L-4.5-1z", "hexagon": "M-2.3-4h4.6L4.6 0 2.3 4h-4.6L-4.6 0z",
    "star": "M0-5.5L1.6-1.6 5.5-1.6 2.4 1 3.5 5 0 2.6-3.5 5-2.4 1-5.5-1.6-1.6-1.6z", "circle-open": "",
}  # fmt: skip
"""Plotly's marker -> its outline as an SVG path about the origin, for the legend."""
DASH_ARRAYS = {
    "solid": "none", "dash": "6 3", "longdash": "9 4", "dot": "2 3", "dashdot": "6 3 2 3", "longdashdot": "9 3 2 3"
}  # fmt: skip

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "pentagon", "star", "hexagon")
DASHES = ("solid", "dot", "dashdot", "longdashdot")
CONTROL_DASHES = ("dash", "longdash")


@dataclass(frozen=True)
class Style:
    """Colour, dash and marker of an arm.

    `colour` is the name of a CSS variable. `dash` and `symbol` are plotly's names.
    """

    colour: str
    dash: str
    symbol: str

    @property
    def mark(self) -> str:
        """The marker as an SVG path."""
        return MARKS[self.symbol]

    @property
    def dash_array(self) -> str:
        """The dash as the value of an SVG `stroke-dasharray`."""
        return DASH_ARRAYS[self.dash]


def styles(arms: list[tuple[str, bool]]) -> dict[str, Style]:
    """Return the style of each arm by its name. An arm is given as (name, is a control).

    Beyond eight arms, colours repeat with another dash.
    """
    found: dict[str, Style] = {}
    plain = neutral = 0
    for name, control in arms:
        if control:
            turn, place = divmod(neutral, len(CONTROL_LIGHT))
            found[name] = Style(f"--control{place}", CONTROL_DASHES[turn % 2], "circle-open")
            neutral += 1
        else:
            turn, place = divmod(plain, len(LIGHT))
            found[name] = Style(f"--arm{place}", DASHES[turn % len(DASHES)], SYMBOLS[place])
            plain += 1
    return found


def variables(dark: bool) -> dict[str, str]:
    """Return the colours of arms, controls and stages as CSS variable -> colour."""
    arms, controls, stages = (DARK, CONTROL_DARK, STAGE_DARK) if dark else (LIGHT, CONTROL_LIGHT, STAGE_LIGHT)
    return {
        **{f"--arm{place}": colour for place, colour in enumerate(arms)},
        **{f"--control{place}": colour for place, colour in enumerate(controls)},
        **{f"--stage-{stage}": colour for stage, colour in stages.items()},
    }
