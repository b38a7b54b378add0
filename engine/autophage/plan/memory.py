"""Divide the memory of one GPU between sampler and trainer before either of them starts.

    sampler = weights + adapter slots + KV cache + CUDA graphs + workspace (a prefill's activations, logits)
    trainer = weights + adapter with its optimizer + activations + tiles of the fused LM head
    full    = float32 weights, gradient and AdamW's moments of every parameter instead of an adapter; the base stays

Trained weights are float32. A trainer that computes in 16 bits also keeps a copy of them in that type between forward
and backward, because the backward pass multiplies with it.

Both stay resident if they fit side by side (`SPLIT`). If they take turns and do not fit, the sampler offloads its
weights and drops its cache while the trainer works (`SLEEP`). Otherwise each needs its own device. Pure arithmetic over
a model's shape, without torch. The figures are estimates, so a reserve is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

from autophage.errors import UserError
from autophage.plan.shape import Shape
from autophage.recipe.tables.model import SUPPORTED_RANKS

GIB = 1 << 30
CONTEXT = round(0.6 * GIB)
"""Bytes of a process on a GPU before anything is loaded: the CUDA context and the libraries' code."""
RESERVE = 0.04
"""Fraction of a GPU's memory that stays free, for fragmentation and the driver."""
OWN_GPU_SHARE = 0.88
"""Fraction of a GPU's memory that vLLM takes on a GPU of its own.

vLLM's default of 0.92 leaves no room for the adapters' buffers.
"""
ROOMY = 0.4
"""Fraction of a GPU's memory that the sampler gets where it is free.

An estimate may be low, and vLLM does not start on too little.
"""
PREFILL_TOKENS = 8192
"""Tokens of a prefill step. vLLM reserves memory for their activations."""
GRAPH_BYTES_PER_LAYER = 96 << 20
"""Bytes per layer of the CUDA graphs of all batch sizes. The 32 layers of an 8B model take about 3 GiB."""
FEWEST_SEQUENCES = 0.25
"""Least fraction of the requested concurrency whose KV cache must fit.

With less, sampling is too slow to share a device.
"""
TRAINED_WIDTH = 4
"""Bytes of a trained parameter, which is in float32."""
OPTIMIZER_BYTES = 4 * TRAINED_WIDTH
"""Bytes per trained parameter: the parameter, its gradient, AdamW's two moments."""
KEPT_HIDDEN, KEPT_INNER = 12, 6
"""Activations per token that a layer keeps for backward, in units of the hidden and of the feed-forward width.

Each linear layer keeps its input for the adapter. Norms and the attention's output are kept too. So are gate, up and
product of the feed-forward. Values that are cast are kept once more.
"""
HEAD_TILE_BYTES = 512 << 20
"""Bytes of the tiles of the fused LM head, which never materialises all logits."""
SCORE_TOKENS = 1 << 14
"""Tokens of a scoring batch.

Its forward pass holds activations of one layer, and hidden states of two models.
"""


class Sharing(Enum):
    """Ways to place sampler and trainer on GPUs. The last two mean that nothing fits as asked."""

    SPLIT = "split"
    SLEEP = "sleep"
    OWN = "own"
    """Sampler and trainer each have their own device, as the recipe asks."""
    DISJOINT_NEEDED = "disjoint needed"
    NONE = "does not fit"


FITTING = (Sharing.SPLIT, Sharing.SLEEP, Sharing.OWN)
LAYOUT = {
    True: "each trainer GPU holds the whole model, and they share the rows of a batch",
    False: "the layers of the trained model are split over the trainer's GPUs",
}
"""Reason of a trainer on several GPUs, by `Demand.whole`."""


@dataclass(frozen=True)
class Demand:
    """Quantities that decide the GPU memory of a run.

    `adapters` counts the adapter slots on the sampler's device. `width` is the bytes of an element of the weights.
    `longest` counts the tokens of the longest prompt with its sample. `batch_tokens` counts those of a training step
    with its padding. `full` trains all weights. `teacher` counts the parameters of a second model that the trainer
    holds. `sampler_gpus` are the devices that one copy of the model is split over. `trainer_gpus` share the rows of a
    batch. Each of them holds the `whole` model, or they split its layers.
    """

    shape: Shape
    rank: int
    adapters: int
    concurrency: int
    longest: int
    batch_tokens: int
    width: int = 2
    full: bool = False
    teacher: int = 0
    sampler_gpus: int = 1
    trainer_gpus: int = 1
    whole: bool = False


@dataclass(frozen=True)
class SamplerMemory:
    """Bytes of the sampler on one device. `kv` is the cache of all concurrent sequences at their longest."""

    weights: int
    adapters: int
    kv: int
    workspace: int
    graphs: int

    @property
    def fixed(self) -> int:
        return self.weights + self.adapters + self.workspace + self.graphs + CONTEXT

    @property
    def asleep(self) -> int:
        return self.graphs + CONTEXT

    @property
    def total(self) -> int:
        return self.fixed + self.kv


@dataclass(frozen=True)
class TrainerMemory:
    """Bytes of the trainer on one device.

    `optimizer` holds the trained weights with gradient and moments. `copies` are the trained weights in the type of
    computation, if that is narrower. `head` holds the tiles of the fused LM head.
    """

    weights: int
    optimizer: int
    copies: int
    activations: int
    head: int

    @property
    def idle(self) -> int:
        """Bytes that stay allocated between two calls. Gradient and moments are freed with the optimizer."""
        return self.weights + self.optimizer // 4 + CONTEXT

    @property
    def total(self) -> int:
        return self.weights + self.optimizer + self.copies + self.activations + self.head + CONTEXT


@dataclass(frozen=True)
class Division:
    """The sampler's and the trainer's parts of the memory of one GPU.

    `share` is vLLM's `gpu_memory_utilization`, and `sequences` the number of sequences that its KV cache holds.
    `reason` explains the choice to the user, or names the missing memory and the settings that would fit.
    """

    sharing: Sharing
    share: float
    sequences: int
    sampler: SamplerMemory
    trainer: TrainerMemory
    reason: str

    @property
    def sleeps(self) -> bool:
        """True if the sampler offloads its memory while the trainer works."""
        return self.sharing is Sharing.SLEEP

    @property
    def fits(self) -> bool:
        return self.sharing in FITTING


def share_gpu(device_bytes: int, demand: Demand, devices: str) -> Division:
    """Return the sampler's and the trainer's parts of a GPU's memory at the start of a run.

    Args:
        device_bytes: Memory of the GPU.
        devices: The recipe's value: serial, colocated or disjoint.

    Raises:
        UserError: Nothing fits. The message names the demand, the device's memory and the settings that would fit.
    """
    division = divide(device_bytes, demand, devices)
    if not division.fits:
        raise UserError(division.reason)
    return division


def divide(device_bytes: int, demand: Demand, devices: str) -> Division:
    """Return the first division of a GPU's memory that fits.

    Side by side comes first, then taking turns if the recipe does. If nothing fits, `fits` of the division is False,
    and its `reason` names remedies.
    """
    demand = replace(demand, whole=holds_whole(device_bytes, demand, devices))
    sharing, room = _way(device_bytes, demand, devices)
    sampler, trainer = sampler_bytes(demand), trainer_bytes(demand)
    kv = max(0, min(sampler.kv, room - sampler.fixed))
    sequences = min(demand.concurrency, kv // max(1, _kv_bytes(demand, 1)))
    taken = max(sampler.fixed + kv, min(room, round(device_bytes * ROOMY)))
    share = OWN_GPU_SHARE if sharing is Sharing.OWN else round(taken / device_bytes, 3)
    if sharing in (Sharing.DISJOINT_NEEDED, Sharing.NONE):
        return Division(sharing, share, sequences, sampler, trainer, _refusal(device_bytes, demand, devices))
    reason = {
        Sharing.OWN: "sampler and trainer each on their own GPU",
        Sharing.SPLIT: "sampler and trainer fit side by side",
        Sharing.SLEEP: f"side by side they need at least {_gib(_least(demand) + trainer.total)}; the sampler sleeps while "
        "the trainer works",
    }[sharing]
    if demand.trainer_gpus > 1:
        reason += f"; {LAYOUT[demand.whole]}"
    return Division(sharing, share, sequences, sampler, trainer, reason)


def holds_whole(device_bytes: int, demand: Demand, devices: str) -> bool:
    """Return True if several trainer GPUs hold the whole model each, because the memory of one is enough.

    They then exchange gradients of the adapter alone. Split layers are gathered by all in each pass.
    """
    return demand.trainer_gpus > 1 and _way(device_bytes, replace(demand, whole=True), devices)[0] in FITTING


def _way(device_bytes: int, demand: Demand, devices: str) -> tuple[Sharing, int]:
    """Return the way to share a GPU, and the bytes that the sampler may take.

    If nothing fits, the bytes are 0.
    """
    sampler, trainer, least = sampler_bytes(demand), trainer_bytes(demand), _least(demand)
    usable, own = round(device_bytes * (1 - RESERVE)), round(device_bytes * OWN_GPU_SHARE)
    each = least <= own and trainer.total <= usable
    if devices == "disjoint":
        return (Sharing.OWN, own) if each else (Sharing.NONE, 0)
    if least <= usable - trainer.total:
        return Sharing.SPLIT, usable - trainer.total
    alone = usable - trainer.idle
    if devices == "serial" and least <= alone and trainer.total + sampler.asleep <= usable:
        return Sharing.SLEEP, alone
    return (Sharing.DISJOINT_NEEDED if each else Sharing.NONE), 0


def _least(demand: Demand) -> int:
    return sampler_bytes(demand).fixed + _kv_bytes(demand, _fewest(demand))


def sampler_bytes(demand: Demand) -> SamplerMemory:
    """Estimate the bytes of the sampler on one device.

    Tensor parallelism splits weights, adapter slots and KV cache over the sampler's GPUs.
    """
    shape, gpus = demand.shape, demand.sampler_gpus
    rank = next((rank for rank in SUPPORTED_RANKS if rank >= demand.rank), demand.rank)
    slots = 0 if demand.full else demand.adapters * shape.adapter_per_rank * rank * demand.width
    prefill = max(PREFILL_TOKENS, demand.longest) * (4 * shape.hidden + 3 * shape.inner // gpus) * demand.width
    logits = 2 * 4 * demand.concurrency * shape.vocabulary  # float32, raw and as they are sampled from
    graphs = shape.layers * GRAPH_BYTES_PER_LAYER // gpus
    weights = shape.parameters * demand.width // gpus
    return SamplerMemory(weights, slots // gpus, _kv_bytes(demand, demand.concurrency), prefill + logits, graphs)


def trainer_bytes(demand: Demand) -> TrainerMemory:
    """Estimate the bytes of the trainer on one device.

    The rows of a batch are split over the trainer's GPUs. The weights are too, except for the LM head, unless each GPU
    holds the whole model. The adapter is whole on each.
    """
    shape, gpus = demand.shape, demand.trainer_gpus
    trained = shape.parameters if demand.full else shape.adapter_per_rank * demand.rank
    head = shape.vocabulary * shape.hidden
    held = shape.parameters if demand.whole or gpus == 1 else head + (shape.parameters - head) // gpus
    weights = (held + demand.teacher) * demand.width
    copies = demand.width * trained if demand.width < TRAINED_WIDTH else 0
    kept = (KEPT_HIDDEN * shape.hidden + KEPT_INNER * shape.inner) * shape.layers * demand.width
    training = kept * demand.batch_tokens // gpus
    scoring = SCORE_TOKENS * (6 * shape.hidden + 3 * shape.inner) * demand.width
    return TrainerMemory(weights, OPTIMIZER_BYTES * trained, copies, max(training, scoring), HEAD_TILE_BYTES)


def _kv_bytes(demand: Demand, sequences: int) -> int:
    return sequences * demand.longest * demand.shape.kv_elements * demand.width // demand.sampler_gpus


def _fewest(demand: Demand) -> int:
    return max(1, round(FEWEST_SEQUENCES * demand.concurrency))


def _refusal(device_bytes: int, demand: Demand, devices: str) -> str:
    """Return the message that nothing fits on a GPU.

    It names the bytes needed, the GPU's memory, and each single change that fits.
    """
    sampler, trainer = sampler_bytes(demand), trainer_bytes(demand)
    least = _least(demand)
    asked = (
        f'devices = "{devices}": the sampler needs at least {_gib(least)} (weights {_gib(sampler.weights)}, KV cache of '
        f"{_fewest(demand)} sequences {_gib(_kv_bytes(demand, _fewest(demand)))}) and the trainer {_gib(trainer.total)} "
        f"(weights {_gib(trainer.weights)}, trained weights with optimizer {_gib(trainer.optimizer + trainer.copies)}, "
        f"activations {_gib(trainer.activations)}); this GPU has {_gib(device_bytes)}."
    )
    remedies = _remedies(device_bytes, demand, devices)
    if not remedies:
        return f"{asked} No single change makes it fit: use a smaller model or larger GPUs."
    return f"{asked} These would fit: {'; or '.join(remedies)}."


def _remedies(device_bytes: int, demand: Demand, devices: str) -> list[str]:
    def fits(changed: Demand, way: str = devices) -> bool:
        return _way(device_bytes, changed, way)[0] in FITTING

    found = []
    if devices == "colocated" and fits(demand, "serial"):
        found.append('devices = "serial", where they take turns')
    if devices != "disjoint" and fits(demand, "disjoint"):
        found.append('devices = "disjoint" with a GPU for each')
    if concurrency := _largest(demand.concurrency, lambda n: fits(replace(demand, concurrency=n))):
        found.append(f"sample.concurrency = {concurrency}")
    if tokens := _largest(demand.batch_tokens, lambda n: fits(replace(demand, batch_tokens=n))):
        found.append(f"a train.batch_size of {tokens:,} tokens (now {demand.batch_tokens:,})")
    if not found:
        for gpus in (2, 4, 8):
            if fits(replace(demand, sampler_gpus=gpus, trainer_gpus=gpus), "disjoint"):
                found.append(f"{gpus} GPUs per sampler and {gpus} per trainer")
                break
    return found


def _largest(most: int, fits: Callable[[int], bool]) -> int:
    """Return the largest of most / 2, most / 4, ... that `fits` accepts; 0 if it accepts none."""
    while (most := most // 2) > 0:
        if fits(most):
            return most
    return 0


def _gib(number: float) -> str:
    return f"{number / GIB:.1f} GiB"
