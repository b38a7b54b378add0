"""The verbs, in the order of the help, each with the example that ends its help."""

from __future__ import annotations

from collections.abc import Callable

from cyclopts import App

from autophage import __version__
from autophage.cli import (
    benchmarking,
    comparing,
    inspecting,
    machine,
    planning,
    querying,
    recipes,
    results,
    running,
    scoring,
    tracking,
    trying,
)

VERBS: dict[str, tuple[Callable[..., int], str]] = {
    "run": (running.run, "autophage run demo --out runs/demo --set generations=3"),
    "watch": (running.watch, "autophage watch runs/demo"),
    "status": (inspecting.status, "autophage status runs/demo"),
    "report": (results.report, "autophage report runs/demo"),
    "compare": (comparing.compare, "autophage compare runs/demo runs/demo-seed-2 --out compared.html"),
    "query": (
        querying.query,
        'autophage query runs/demo "SELECT arm, generation, avg(entropy) FROM tokens GROUP BY ALL ORDER BY ALL"',
    ),
    "export": (results.export, "autophage export runs/demo --arm main --generation 5 --out demo-adapter"),
    "track": (tracking.track, "autophage track runs/demo --to mlflow --set track.mlflow_uri=http://localhost:5000"),
    "verify": (inspecting.verify, "autophage verify runs/demo --json"),
    "score": (scoring.score, "autophage score google/gemma-3-1b-it text.txt --out scores.parquet"),
    "recipes": (recipes.recipes, "autophage recipes"),
    "show": (recipes.show, "autophage show demo --resolved"),
    "plan": (planning.plan, "autophage plan demo --set sample.count=2000 --price-per-hour 2.50"),
    "try": (trying.try_, "autophage try demo --count 3"),
    "bench": (benchmarking.bench, "autophage bench loop --samples 256"),
    "doctor": (machine.doctor, "autophage doctor"),
}


def build_app() -> App:
    """Build the parser of the command line with all verbs. It raises errors, which `main` prints."""
    app = App(
        name="autophage",
        help="Train language models on their own output, generation after generation, and watch them collapse.",
        help_format="plaintext",
        help_epilogue="Example: autophage run demo",
        version=__version__,
        exit_on_error=False,
        print_error=False,
        suppress_keyboard_interrupt=False,
    )
    for order, (verb, (function, example)) in enumerate(VERBS.items()):
        app.command(function, name=verb, sort_key=order, help_epilogue=f"Example: {example}")
    return app
