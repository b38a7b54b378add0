"""The reference of metric names, from the catalogue that the report uses."""

from __future__ import annotations

from itertools import groupby

from text import sentence, table

from autophage.report.facts.catalog import BASES

UNITS = {
    "share": "share",
    "perplexity": "perplexity",
    "number": "number",
    "positive": "number above 0",
    "nats": "nats",
    "seconds": "seconds",
    "rate": "tokens/s",
}
FAMILIES = {
    "knowledge": "Knowledge of a world's facts, and of places",
    "format": "Form of answers",
    "questions": "Four-way questions",
    "fluency": "Fluency",
    "fact": "Facts",
    "onpolicy": "On the model's own text",
    "drift": "Drift",
    "mix": "Edited human text",
    "anchor": "Anchors",
    "tail": "Tails",
    "text": "Diversity of text",
    "detect": "Detectors",
    "gate": "Gates",
    "learner": "Learners in closed form",
    "speed": "Speed",
}


def families() -> str:
    """A section for each family of metrics: names, units, meaning."""
    parts = []
    for family, names in groupby(BASES, key=lambda name: name.split("/")[0]):
        rows = [
            [f"`{name}`", UNITS[BASES[name].kind], sentence(BASES[name].note or BASES[name].label)] for name in names
        ]
        parts.append(f"## {FAMILIES[family]} {{ #{family} }}\n\n{table(['metric', 'unit', 'meaning'], rows)}")
    return "\n\n".join(parts)
