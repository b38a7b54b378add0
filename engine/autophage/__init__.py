"""Recursive synthetic training of language models: run a recipe, read a run, score a text.

Examples:
    >>> import autophage as ap
    >>> run = ap.run("demo", out="runs/demo", overrides={"generations": 3})
    >>> run.metrics().to_pandas()
"""

from autophage.errors import (
    AutophageError,
    RecipeError,
    RequeueInterrupt,
    RunError,
    StoreError,
    SwapError,
    UserError,
)
from autophage.runs.handle import Run, open_run
from autophage.runs.scored import score
from autophage.runs.start import run

__version__ = "0.1.0"

__all__ = [
    "AutophageError",
    "RecipeError",
    "RequeueInterrupt",
    "Run",
    "RunError",
    "StoreError",
    "SwapError",
    "UserError",
    "__version__",
    "open_run",
    "run",
    "score",
]
