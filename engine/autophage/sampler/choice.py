"""Which sampler a run has: vLLM, or transformers where documents are searched for with beams."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autophage.sampler.protocol import EngineSettings

if TYPE_CHECKING:
    from autophage.sampler.beam import BeamSampler
    from autophage.sampler.engine import Sampler


def sampler_for(settings: EngineSettings) -> Sampler | BeamSampler:
    """The sampler that `settings` ask for, started."""
    if settings.beam_recipe is not None:
        from autophage.sampler.beam import BeamSampler

        return BeamSampler(settings)
    from autophage.sampler.engine import Sampler

    return Sampler(settings)
