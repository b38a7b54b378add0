"""Recipes of small learners, and runs of them in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from threadpoolctl import threadpool_limits

from autophage.recipe import LoadedRecipe, load_recipe
from autophage.runs.execute import execute
from autophage.store.rundir import RunDirectory

TINY = {
    "gaussian": "learner.repetitions=4",
    "mixture": "learner.repetitions=2 sample.count=40",
    "vae": "sample.count=64 learner.hidden=16 learner.latent=4 train.epochs=1 measure.documents=8 measure.resamples=100",
    "ngram": "source.people=20 source.held_out_documents=10 measure.resamples=100 measure.pairwise=4 measure.reference=50",
    "regression": "learner.repetitions=4 learner.dimensions=2",
    "classifier": "learner.repetitions=4 learner.dimensions=2",
}
"""Overrides that make a learner quick, on top of the recipe of `load`."""

RECIPE = """
name = "tiny"
generations = 2
[learner]
kind = "{kind}"
[sample]
count = 12
[train]
chain = "restart"
"""

Load = Callable[..., LoadedRecipe]
Events = list[dict[str, Any]]
Run = Callable[..., RunDirectory]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Limit threads as the loop does. On small arrays they would only wait."""
    with threadpool_limits(1):
        yield


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load a tiny recipe of a learner: `load("gaussian", "mix.alpha=0.5")`."""

    def make(kind: str, *overrides: str) -> LoadedRecipe:
        path = tmp_path / f"{kind}.toml"
        path.write_text(RECIPE.format(kind=kind))
        return load_recipe(str(path), [*TINY[kind].split(), *overrides])

    return make


class Watching:
    """A view that keeps events. It interrupts the run at commit number `stop`."""

    def __init__(self, events: Events, stop: int | None = None) -> None:
        self.events, self.stop = events, stop

    def __enter__(self) -> Watching:
        return self

    def __exit__(self, *_: object) -> None: ...

    def handle(self, event: Mapping[str, Any]) -> None:
        self.events.append(dict(event))
        if sum(one["kind"] == "commit" for one in self.events) == self.stop:
            self.stop = None
            raise KeyboardInterrupt


@pytest.fixture
def run_recipe(tmp_path: Path) -> Run:
    """Run a recipe: `run_recipe(loaded, "name")`. With `stop` the run is interrupted after that many commits."""

    def make(loaded: LoadedRecipe, name: str, stop: int | None = None, events: Events | None = None) -> RunDirectory:
        out = tmp_path / name
        view = Watching([] if events is None else events, stop)
        if stop is None:
            execute(loaded, out, view)
        else:
            with pytest.raises(KeyboardInterrupt):
                execute(loaded, out, view)
        return RunDirectory(out)

    return make
