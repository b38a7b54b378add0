"""Division of GPUs of several sizes between sampler and trainer of models of several sizes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from autophage.errors import UserError
from autophage.plan.memory import (
    CONTEXT,
    OWN_GPU_SHARE,
    RESERVE,
    Demand,
    Sharing,
    divide,
    holds_whole,
    sampler_bytes,
    share_gpu,
    trainer_bytes,
)
from autophage.plan.shape import Shape, llama_shape

GIB = 1 << 30
H200, H100, A100_40, CONSUMER = (round(size * GIB) for size in (140.4, 79.6, 40.0, 24.0))
ONE = llama_shape(2048, 8192, 16, 128_256, 512, 1, "1B")
EIGHT = llama_shape(4096, 14336, 32, 128_256, 1024, 2, "8B")
FOURTEEN = llama_shape(5120, 17408, 40, 151_936, 1024, 2, "14B")
SEVENTY = llama_shape(8192, 28672, 80, 128_256, 1024, 2, "70B")


def asked(shape: Shape, **changes: Any) -> Demand:
    """Rank 16, four slots, 256 sequences of 320 tokens, and 32 rows of 64 tokens a step."""
    return replace(Demand(shape, 16, 4, 256, 320, 2048), **changes)


def test_the_parts_of_eight_billion_parameters() -> None:
    """Weights take 16 GB and 32 slots of rank 16 2.7 GB. KV of 1,000 sequences takes 42 GB. Graphs take 3 GB."""
    demand = asked(EIGHT, adapters=32, concurrency=1000)
    sampler, trainer = sampler_bytes(demand), trainer_bytes(demand)
    assert sampler.weights == pytest.approx(16.06e9, rel=0.01)
    assert sampler.adapters == pytest.approx(2.7e9, rel=0.02)
    assert sampler.kv == pytest.approx(42e9, rel=0.01)
    assert sampler.graphs == 3 * GIB
    assert trainer.optimizer == pytest.approx(0.67e9, rel=0.01)
    assert trainer.activations < 30e9


def test_a_teacher_is_held_beside_the_model() -> None:
    alone, taught = trainer_bytes(asked(ONE)), trainer_bytes(asked(ONE, teacher=EIGHT.parameters))
    assert taught.weights - alone.weights == 2 * EIGHT.parameters
    assert taught.idle - alone.idle == taught.total - alone.total == 2 * EIGHT.parameters
    assert share_gpu(CONSUMER, asked(ONE, concurrency=16), "serial").fits
    with pytest.raises(UserError, match=r"this GPU has 24\.0 GiB"):
        share_gpu(CONSUMER, asked(ONE, concurrency=16, teacher=FOURTEEN.parameters), "serial")


def test_eight_billion_on_an_h200_are_split_near_half() -> None:
    division = share_gpu(H200, asked(EIGHT, adapters=32, concurrency=1000), "serial")
    assert division.sharing is Sharing.SPLIT
    assert not division.sleeps
    assert division.sequences == 1000
    assert division.share == pytest.approx(0.45, abs=0.07)


def test_eight_billion_on_24_gib_are_refused_with_reasons() -> None:
    with pytest.raises(UserError) as refused:
        share_gpu(CONSUMER, asked(EIGHT), "serial")
    text = str(refused.value)
    assert 'devices = "serial"' in text
    assert "weights 15.0 GiB" in text
    assert "this GPU has 24.0 GiB" in text
    assert "These would fit: 2 GPUs per sampler and 2 per trainer" in text


def test_eight_billion_on_40_gib_take_turns_where_they_may() -> None:
    demand = asked(EIGHT)
    division = share_gpu(A100_40, demand, "serial")
    assert division.sleeps
    assert "sleeps while the trainer works" in division.reason
    assert division.share * A100_40 + trainer_bytes(demand).idle <= A100_40 * (1 - RESERVE) * 1.001
    with pytest.raises(UserError, match='devices = "serial", where they take turns; or devices = "disjoint"'):
        share_gpu(A100_40, demand, "colocated")
    own = share_gpu(A100_40, demand, "disjoint")
    assert (own.sharing, own.share) == (Sharing.OWN, OWN_GPU_SHARE)


@pytest.mark.parametrize(
    ("device", "shape", "sharing"),
    [
        (H200, ONE, Sharing.SPLIT),
        (H100, ONE, Sharing.SPLIT),
        (A100_40, ONE, Sharing.SPLIT),
        (CONSUMER, ONE, Sharing.SPLIT),
        (H100, EIGHT, Sharing.SPLIT),
        (H200, FOURTEEN, Sharing.SPLIT),
        (H100, FOURTEEN, Sharing.SLEEP),
        (CONSUMER, FOURTEEN, Sharing.NONE),
        (H200, SEVENTY, Sharing.NONE),
        (H100, SEVENTY, Sharing.NONE),
    ],
)
def test_the_way_of_sharing(device: int, shape: Shape, sharing: Sharing) -> None:
    assert divide(device, asked(shape), "serial").sharing is sharing


def test_what_is_given_away_is_there() -> None:
    """A split device holds the sampler's share and the trainer. With sleep it holds each phase."""
    for device in (H200, H100, A100_40, CONSUMER):
        for shape in (ONE, EIGHT, FOURTEEN):
            for concurrency in (16, 256, 4096):
                demand = asked(shape, concurrency=concurrency)
                division = divide(device, demand, "serial")
                if division.sharing is Sharing.SPLIT:
                    assert division.share * device + division.trainer.total <= device
                if division.sleeps:
                    assert division.share * device + division.trainer.idle <= device
                    assert division.trainer.total + division.sampler.asleep <= device
                if division.fits:
                    assert concurrency / 4 <= division.sequences + 1 <= concurrency + 1


def test_more_memory_never_serves_fewer() -> None:
    before = -1
    for size in range(20, 200, 10):
        division = divide(size * GIB, asked(EIGHT, concurrency=2048), "colocated")
        served = division.sequences if division.fits else 0
        assert served >= before
        before = served
    assert before == 2048


def test_a_smaller_concurrency_or_batch_is_proposed_where_it_helps() -> None:
    with pytest.raises(UserError, match=r"sample\.concurrency = \d+"):
        share_gpu(CONSUMER, asked(ONE, concurrency=4096, longest=8192), "serial")
    with pytest.raises(UserError, match=r"a train\.batch_size of [\d,]+ tokens \(now 65,536\)"):
        share_gpu(H100, asked(EIGHT, batch_tokens=65_536), "disjoint")


def test_tensor_parallel_and_sharded_training_divide_the_model() -> None:
    demand = asked(SEVENTY, sampler_gpus=4, trainer_gpus=4, batch_tokens=1024)
    division = share_gpu(H200, demand, "disjoint")
    assert division.fits
    assert "layers of the trained model are split" in division.reason
    # The LM head is whole on each GPU.
    head = SEVENTY.vocabulary * SEVENTY.hidden
    assert division.trainer.weights == 2 * (head + (SEVENTY.parameters - head) // 4)
    assert sampler_bytes(demand).weights * 4 == pytest.approx(sampler_bytes(asked(SEVENTY)).weights, rel=1e-6)


@pytest.mark.parametrize("devices", ["serial", "disjoint"])
def test_trainer_gpus_hold_the_whole_model_where_one_does(devices: str) -> None:
    demand = asked(EIGHT, sampler_gpus=4, trainer_gpus=4)
    assert holds_whole(H200, demand, devices)
    division = divide(H200, demand, devices)
    assert "each trainer GPU holds the whole model" in division.reason
    assert division.trainer.weights == 2 * EIGHT.parameters
    assert not holds_whole(CONSUMER, asked(FOURTEEN, sampler_gpus=4, trainer_gpus=4), devices)
    assert not holds_whole(H200, asked(EIGHT), devices), "one GPU has nothing to share"
    assert not holds_whole(H200, asked(SEVENTY, sampler_gpus=8, trainer_gpus=8), devices)


def test_the_adapter_is_whole_on_every_trainer_gpu() -> None:
    for whole in (False, True):
        split = trainer_bytes(asked(EIGHT, trainer_gpus=4, whole=whole))
        assert split.optimizer == trainer_bytes(asked(EIGHT)).optimizer


@pytest.mark.parametrize(("width", "each"), [(2, 2 + 16 + 2), (4, 4 + 16)])
def test_full_training_holds_twenty_bytes_a_parameter(width: int, each: int) -> None:
    """The base, the float32 weights with gradient and moments, and a 16-bit copy where the trainer computes in that."""
    trainer = trainer_bytes(asked(ONE, full=True, width=width))
    assert trainer.weights + trainer.optimizer + trainer.copies == each * ONE.parameters
    assert trainer.total - trainer.activations - trainer.head == each * ONE.parameters + CONTEXT


def test_full_training_fits_where_twenty_bytes_a_parameter_do() -> None:
    assert sampler_bytes(asked(ONE, full=True)).adapters == 0
    assert divide(H100, asked(ONE, full=True), "serial").sharing is Sharing.SPLIT
    assert divide(H100, asked(EIGHT, full=True), "serial").sharing is Sharing.NONE
