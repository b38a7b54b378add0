"""Samples of each arm at fixed places of its corpus, with the surprisal of their tokens.

Only the first shard of a generation is read. Samples are picked by place, never by content, so the choice is neutral.
Texts are untrusted. They leave the module as plain strings and runs of visible characters, for a template that
escapes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from autophage.display import visible
from autophage.report.facts.corpora import first_shard, shown_generations
from autophage.report.facts.load import ArmFacts
from autophage.store.rundir import RunDirectory

PLACES = 5
"""Samples shown for each arm and generation: few enough to be read."""
LONGEST = 1500
"""Most characters shown of a text. The corpus holds the rest."""
BARS = 160
"""Most tokens of a sample whose surprisal is drawn."""
FEWEST_BARS = 24
TALLEST = 6.0
"""Surprisal in nats of a token whose bar has full height: a chance of 1 in 400."""
COLUMNS = ["prompt", "text", "logprob", "entropy", "finish_reason", "accepted", "gate"]


@dataclass(frozen=True)
class Shown:
    """One sample of a corpus, ready for the page.

    `prompt` and `text` are runs of characters. `cut` counts the characters of the text that are left out. `bars` is an
    SVG path with one stroke for each token. `tint` is the mean surprisal over `TALLEST`, at most 1. `rejected` is the
    reason of a gate, empty for an accepted sample.
    """

    prompt: list[tuple[str, bool]]
    text: list[tuple[str, bool]]
    cut: int
    tokens: int
    logprob: float | None
    entropy: float | None
    bars: str
    tint: float
    finish: str
    rejected: str


@dataclass(frozen=True)
class ArmSamples:
    """Samples of an arm, for the page.

    Each of `rows` holds one sample for each of `generations`. All its samples have the same index in their corpus,
    given in `places`. Generations in `missing` have no corpus in the directory.
    """

    arm: str
    generations: list[int]
    places: list[int]
    rows: list[list[Shown]]
    missing: list[int]

    @property
    def width(self) -> int:
        """Width of the strips that draw surprisal, in SVG units.

        All strips of an arm share it, so their lengths are comparable.
        """
        return 3 * max([FEWEST_BARS, *(min(BARS, one.tokens) for row in self.rows for one in row)])


def arm_samples(run: RunDirectory, arm: ArmFacts) -> ArmSamples:
    """Read samples of an arm at generation 0, a middle one and the last."""
    tables = {}
    missing = []
    for generation in shown_generations(arm.last):
        table = first_shard(run, arm.manifests[generation], COLUMNS)
        if table is None:
            missing.append(generation)
        else:
            tables[generation] = table
    smallest = min((table.num_rows for table in tables.values()), default=0)
    places = sorted({round(place * (smallest - 1) / max(1, PLACES - 1)) for place in range(PLACES)}) if smallest else []
    rows = [[_shown(table.slice(place, 1).to_pylist()[0]) for table in tables.values()] for place in places]
    return ArmSamples(arm.name, list(tables), places, rows, missing)


def _shown(row: dict[str, Any]) -> Shown:
    logprob = np.asarray(row["logprob"] or [], dtype=float)
    entropy = np.asarray(row["entropy"] or [], dtype=float)
    surprisal = -logprob[np.isfinite(logprob)]
    text, prompt = row["text"] or "", row["prompt"] or ""
    mean = float(surprisal.mean()) if surprisal.size else None
    return Shown(
        prompt=visible(prompt[-LONGEST:]),
        text=visible(text[:LONGEST]),
        cut=max(0, len(text) - LONGEST),
        tokens=int(logprob.size),
        logprob=None if mean is None else -mean,
        entropy=float(entropy.mean()) if entropy.size and np.isfinite(entropy).all() else None,
        bars=_bars(surprisal[:BARS]),
        tint=0.0 if mean is None else min(1.0, mean / TALLEST),
        finish=row["finish_reason"] or "",
        rejected="" if row["accepted"] else (row["gate"] or "no reason given"),
    )


def _bars(surprisal: np.ndarray) -> str:
    """Draw the surprisal (nats) of each token as a vertical stroke of an SVG path.

    Strokes are up to 20 units high and 3 units apart, on the line y = 20.
    """
    heights = 20 * np.clip(surprisal / TALLEST, 0.03, 1)
    return "".join(f"M{3 * place + 2} 20v-{height:.1f}" for place, height in enumerate(heights))
