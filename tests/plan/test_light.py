"""The speed of light of sampling and training, by hand."""

from __future__ import annotations

import pytest

from autophage.plan.light import Light, SampledTokens, seconds_of

LAYERS, HEAD = ((64, 0.2), (1024, 1.024)), ((64, 0.05), (1024, 0.512))
LIGHT = Light(LAYERS, HEAD, concurrency=64)


def test_seconds_between_and_beyond_measured_points() -> None:
    assert seconds_of(LAYERS, 0) == 0.0
    assert seconds_of(LAYERS, 1) == seconds_of(LAYERS, 64) == 0.2
    assert seconds_of(LAYERS, 544) == pytest.approx((0.2 + 1.024) / 2)
    assert seconds_of(LAYERS, 4096) == pytest.approx(4.096)


def test_many_tokens_pass_at_the_best_measured_rate() -> None:
    assert seconds_of(((64, 0.02), (1024, 1.024)), 2048) == pytest.approx(0.64)


def test_a_batch_is_its_prompts_and_its_decoding_steps() -> None:
    batch = SampledTokens(documents=128, prompted=128 * 95, written=128 * 11)
    decoding = 128 * 10 / 64 * (0.2 + 0.05)
    prompts = 128 * 95 * 0.001 + seconds_of(HEAD, 128)
    assert LIGHT.sampling(batch) == pytest.approx(decoding + prompts)


def test_few_documents_make_smaller_steps() -> None:
    light = Light(((8, 0.1), (64, 0.2)), ((8, 0.0), (64, 0.0)), concurrency=64)
    assert light.sampling(SampledTokens(8, 0, 8 * 11)) == pytest.approx(10 * 0.1)


def test_a_document_that_ends_at_once_takes_no_decoding_step() -> None:
    assert LIGHT.sampling(SampledTokens(64, 64, 64)) == pytest.approx(0.2 + 0.05)


def test_an_adapter_needs_no_gradient_of_the_weights() -> None:
    lora, full = (LIGHT.training(2048, 1024, full=full) for full in (False, True))
    assert lora == pytest.approx(2 * (2.048 + 0.512))
    assert full == pytest.approx(1.5 * lora)
