"""Provenance of the numbers: the chain of manifests, the environment, and the events of the run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from autophage.display import plural
from autophage.report.facts.load import ArmFacts, RunFacts
from autophage.report.facts.words import moment

TOLD = {
    "run-start": "started", "run-end": "finished", "interrupted": "interrupted", "failed": "failed", "note": "note"
}  # fmt: skip
MOST_EVENTS = 60


@dataclass(frozen=True)
class Link:
    """One generation of the chain. `sound` is True if its parent is the previous manifest."""

    generation: int
    sha256: str
    sound: bool
    counts: str
    seeds: str
    weights: str
    level: str
    megabytes: float


def chain(arm: ArmFacts) -> list[Link]:
    """Manifests of an arm, oldest first."""
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
    """Package -> all versions that made some generation."""
    found: dict[str, list[str]] = {}
    for arm in facts.arms:
        for manifest in arm.manifests:
            for package, version in manifest.versions.items():
                known = found.setdefault(str(package), [])
                if str(version) not in known:
                    known.append(str(version))
    return sorted(found.items())


def event_summary(events: list[dict[str, Any]]) -> str:
    """One sentence such as `The run was started once, resumed 2 times, ...`."""
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
    """(time, kind, detail) of the last notable events: starts, ends, notes, interruptions and failures."""
    lines = []
    for event in events:
        kind = event.get("kind")
        if isinstance(kind, str) and kind in TOLD:
            time = event.get("time")
            detail = str(event.get("text") or event.get("reason") or event.get("error") or event.get("devices") or "")
            lines.append((moment(time) if isinstance(time, int | float) else "", TOLD[kind], detail))
    return lines[-MOST_EVENTS:]


def pretty(environment: dict[str, Any]) -> str:
    return json.dumps(environment, indent=2, sort_keys=True, ensure_ascii=False)


def machine_words(environment: dict[str, Any]) -> list[str]:
    """Model and machine in a few words, as far as the environment names them."""
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
    if environment.get("autophage"):
        words.append(f"autophage {environment['autophage']}")
    return words


def _weights(weights: dict[str, Any]) -> str:
    """Digest of the weights, and the canary's distance between sampler and trainer at the swap."""
    words = [str(weights["digest"])[:12]] if weights.get("digest") else []
    canary = weights.get("canary_nats")
    words += [f"canary {canary:.1e} nats"] if isinstance(canary, int | float) else []
    return ", ".join(words)


def _pairs(values: dict[str, int]) -> str:
    return ", ".join(f"{key} {value:,}" if "seed" not in key else f"{key} {value}" for key, value in values.items())
