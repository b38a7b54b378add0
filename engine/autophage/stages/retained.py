"""What a generation has kept of the knowledge of model 0, from the answers that both committed.

Model 0's answers are read from the run directory, so that a resumed run compares with the same ones.
"""

from __future__ import annotations

from dataclasses import replace

from autophage.metrics.places import guessed, retention_metrics
from autophage.store.answers import Answer, answers_in
from autophage.store.commit import Generation
from autophage.store.rundir import RunDirectory


def with_retention(run: RunDirectory, made: Generation) -> Generation:
    """Return a generation with the metrics of what it has kept of model 0's knowledge.

    A recipe without questions about places has none.
    """
    if not any(one.bucket is not None for one in made.answers):
        return made
    before: list[Answer] = made.answers if made.generation == 0 else answers_in(run.generation(made.arm, 0))
    return replace(made, metrics=[*made.metrics, *retention_metrics(before, made.answers)])


def ignorance(made: Generation) -> str:
    """Return a message if model 0 of an arm only guesses about some class of places; else an empty one."""
    names = guessed(made.answers) if made.generation == 0 else []
    if not names:
        return ""
    classes = {one.bucket for one in made.answers}
    where = "all classes of places" if len(names) == len(classes) else f"places of the class {' and '.join(names)}"
    lost = "this run can show no loss of knowledge" if len(names) == len(classes) else "it can lose nothing there"
    return (
        f"{made.arm}: model 0 answers four-way questions about {where} no better than a guess would, so {lost}. Use a larger "
        'model, or other questions.formats, such as ["cloze"]'
    )
