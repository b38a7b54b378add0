"""The record of one canary check, for the manifest. Plain data, free of torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CanaryRecord:
    """Differences (nats) between the log-probs of sampler and trainer for the canary's tokens, and the staleness.

    The staleness is 0 if the sampler serves the trained weights, and 1 if it serves those of the generation before.
    """

    nats: float
    """Largest difference."""
    mean: float
    p90: float
    staleness: float | None = None
    """None if there is no generation before, or if its weights are the same."""
    staleness_error: float | None = None
    """Standard error of `staleness`."""

    def entries(self) -> dict[str, float]:
        """Return the entries of a manifest's `weights` table, by name."""
        named = {
            "canary_nats": self.nats,
            "canary_mean_nats": self.mean,
            "canary_p90_nats": self.p90,
            "canary_staleness": self.staleness,
            "canary_staleness_error": self.staleness_error,
        }
        return {name: value for name, value in named.items() if value is not None}
