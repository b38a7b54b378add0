"""Provenance of the numbers: the chain of manifests, the environment, and the events of the run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from autophage.display import plural
from autophage.plan.choices import WITHOUT_GPU
from autophage.report.facts.load import ArmFacts, RunFacts
from autophage.report.facts.words import moment

TOLD = {
    "run-start": "started", "run-end": "finished", "interrupted": "interrupted", "failed": "failed", "note": "note"
}  # fmt: skip
MOST_EVENTS = 60


@dataclass(frozen=True)
class Link:
    """One generation in the chain of an arm's manifests.

    `sha256` is that of its manifest. `sound` is True if its recorded parent is the previous manifest. `level` is the
    resume level that was kept.
    """

    generation: int
    sha256: str
    sound: bool
    counts: str
    seeds: str
    weights: str
    level: str
    megabytes: float


def chain(arm: ArmFacts) -> list[Link]:
    """Return one link for each manifest of an arm, oldest first."""
    links = []
    for place, (manifest, own) in enumerate(zip(arm.manifests, arm.hashes, strict=True)):
        sound = place == 0 or manifest.parent == arm.hashes[place - 1]
        size = sum(facts.get("bytes", 0) for facts in manifest.files.values()) / 1e6
        links.append(
            Link(
                generation=manifest.generation,
                sha256=own,
                sound=sound,
                counts=_pairs(manifest.counts),
                seeds=_pairs(manifest.seeds),
                weights=_weights(manifest.weights),
                level=manifest.level,
                megabytes=size,
            )
        )
    return links


def versions(facts: RunFacts) -> list[tuple[str, list[str]]]:
    """Return each package with all its versions that made some generation, sorted by package."""
    found: dict[str, list[str]] = {}
    for arm in facts.arms:
        for manifest in arm.manifests:
            for package, version in manifest.versions.items():
                known = found.setdefault(str(package), [])
                if str(version) not in known:
                    known.append(str(version))
    return sorted(found.items())


def event_summary(events: list[dict[str, Any]]) -> str:
    """Return one sentence on the events of a run, such as `The run was started once, resumed 2 times, ...`."""
    starts = sum(event.get("kind") == "run-start" for event in events)
    if not starts:
        return "No events were recorded."
    parts = [f"started once, resumed {plural(starts - 1, 'time')}" if starts > 1 else "started once, never resumed"]
    for kind, one in (("interrupted", "interruption"), ("failed", "failure")):
        count = sum(event.get("kind") == kind for event in events)
        parts += [plural(count, one)] if count else []
    parts.append(plural(sum(event.get("kind") == "commit" for event in events), "commit"))
    return f"The run was {', '.join(parts)}."


def told_events(events: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """Return (time, kind, detail) of the last `MOST_EVENTS` notable events, as text.

    Notable are starts, ends, notes, interruptions and failures.
    """
    lines = []
    for event in events:
        kind = event.get("kind")
        if isinstance(kind, str) and kind in TOLD:
            time = event.get("time")
            detail = str(event.get("text") or event.get("reason") or event.get("error") or event.get("devices") or "")
            lines.append((moment(time) if isinstance(time, int | float) else "", TOLD[kind], detail))
    return lines[-MOST_EVENTS:]


def pretty(environment: dict[str, Any]) -> str:
    """Return the environment of a run as indented JSON text."""
    return json.dumps(environment, indent=2, sort_keys=True, ensure_ascii=False)


def machine_words(environment: dict[str, Any]) -> list[str]:
    """Return the model's size, the device and the version in a few words.

    Entries that `environment` lacks are left out.
    """
    model = environment.get("model")
    model = model if isinstance(model, dict) else {}
    words = []
    parameters = model.get("parameters")
    if isinstance(parameters, int):
        size = f"{parameters / 1e9:.1f}B" if parameters >= 1e9 else f"{parameters / 1e6:.1f}M"
        words.append(f"{size} parameters" + (f", {model['kind']}" if model.get("kind") else ""))
    device = environment.get("device")
    if isinstance(device, str) and device:
        threads = environment.get("threads")
        words.append(f"{plural(threads, 'CPU thread')}" if device == "cpu" and isinstance(threads, int) else device)
    words += chosen_words(environment)
    if environment.get("autophage"):
        words.append(f"autophage {environment['autophage']}")
    return words


def chosen_words(environment: dict[str, Any]) -> list[str]:
    """Return the values that were chosen for "auto" keys, as `key = value`. Usual choices on a CPU are left out."""
    choices = environment.get("choices")
    if not isinstance(choices, dict) or all(_is_usual(one) for one in choices.values()):
        return []
    return [f"{key} = {one['value']}" for key, one in choices.items() if isinstance(one, dict) and "value" in one]


def _is_usual(choice: object) -> bool:
    return isinstance(choice, dict) and choice.get("reason") == WITHOUT_GPU


def _weights(weights: dict[str, Any]) -> str:
    """Return the start of the weights' digest and the distance of the canary, as text.

    The canary compares sampler and trainer at the swap: its largest and mean difference in nats, and its staleness, which is
    0 for the trained weights and 1 for those before. A missing part is left out.
    """
    words = [str(weights["digest"])[:12]] if weights.get("digest") else []
    canary = weights.get("canary_nats")
    words += [f"canary {canary:.1e} nats"] if isinstance(canary, int | float) else []
    mean, staleness, error = (weights.get(f"canary_{name}") for name in ("mean_nats", "staleness", "staleness_error"))
    words += [f"mean {mean:.1e}"] if isinstance(mean, int | float) else []
    words += [f"staleness {staleness:.2f} ± {error:.1g}"] if isinstance(staleness, int | float) else []
    return ", ".join(words)


def _pairs(values: dict[str, int]) -> str:
    return ", ".join(f"{key} {value:,}" if "seed" not in key else f"{key} {value}" for key, value in values.items())
