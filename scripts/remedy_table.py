"""The table of remedies in `recipes/README.md`, from the comparison in a run's report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from autophage.report.facts.costs import costs_of
from autophage.report.facts.load import RunFacts
from autophage.report.remedies.outcomes import DRIFT, HELD, gathered, remedy_facts
from autophage.store.rundir import RunDirectory

BEGIN, END = "<!-- remedies: begin -->", "<!-- remedies: end -->"
SHOWN = (*HELD, "fluency/ppl_form", "onpolicy/entropy", DRIFT)
COLUMNS = (
    *("remedy", "verdict", "gain, torso", "gain, tail"),
    *("torso", "tail", "perplexity of form", "entropy", "KL to base"),
    *("tokens", "minutes"),
)
DIGITS = 6


def comparison(run: RunDirectory, facts: RunFacts) -> dict[str, Any] | None:
    """Comparison that a result keeps. It is None if the run compares no remedies."""
    found: dict[str, Any] | None = _rounded(remedy_facts(gathered(facts, costs_of(run, facts))))
    return found


def remedy_table(result: Mapping[str, Any]) -> str:
    """Markdown table of one result.

    Gains are in points of accuracy over the naked loop, paired by seed. Costs are of all generations, as a mean over seeds.
    """
    found = result["remedies"]
    torso, tail, both = (_points(one) for one in found["naked"]["left"])
    best = ", ".join(f"`{name}`" for name in found["pareto_front"])
    cores = result["environment"]["cpu_count"]
    lines = [
        f"`{result['command']}`, {result['seconds'] // 60}:{result['seconds'] % 60:02d} on {cores} CPU cores. After "
        f"{found['generation']} generations and over {found['seeds']} seeds the naked loop lies behind its control by {torso} "
        f"points of torso accuracy, by {tail} of tail and by {both} of their mean. On the Pareto front of retention against "
        f"tokens: {best}.",
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"|{'---|' * len(COLUMNS)}",
    ]
    lines += [_row(one) for one in (*found["outcomes"], found["naked"])]
    return "\n".join(lines)


def _row(one: Mapping[str, Any]) -> str:
    gains = [_points(gain) for gain in one["gains"][: len(HELD)]] if one["verdict"] else ["", ""]
    metrics = [f"{one['metrics'][name]['value']:.3g}" if name in one["metrics"] else "" for name in SHOWN]
    cost = one["cost"]
    told = [f"`{one['name']}`", f"**{one['verdict']}**" if one["verdict"] else "the naked loop", *gains, *metrics]
    told += [f"{cost['tokens'] / 1e3:,.0f}k", f"{cost['time'] / 60:.1f}"]
    return f"| {' | '.join(told)} |"


def _points(gain: Mapping[str, Any]) -> str:
    value, *interval = (gain[key] for key in ("value", "low", "high"))
    low, high = (f"{100 * one:+.1f}" if one is not None else "?" for one in interval)
    return f"{100 * value:+.1f} ({low} to {high})"


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, DIGITS)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value


def tables(results: list[dict[str, Any]]) -> Iterator[str]:
    """Of each result that compares remedies."""
    return (remedy_table(one) for one in results if one.get("remedies"))
