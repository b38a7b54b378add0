"""Forward passes over sequences: which sequences go together, within limits of memory.

A pass holds sequences of similar length. Its tokens are limited, padding included, and on a CPU its sequences and its
padding too. Sequences that begin alike share a pass over their common prefix (`prefixes`), if the model can start from a
cache (`LanguageHead.cached`). The keys and values of a pass are limited then.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from autophage.trainer.head import LanguageHead
from autophage.trainer.prefixes import PrefixGroup, prefix_groups

TOKEN_BUDGET = 1 << 14
"""Most tokens of a pass, padding included. Their hidden states take 256 MiB at width 4096 in float32."""
CPU_TOKENS = 1 << 11
"""Most tokens of a pass on a CPU. More are slower there: what lies between two layers leaves the cache of a core."""
CPU_PADDING = 1 << 7
"""Most tokens of padding in a pass on a CPU. A GPU loses more by waiting for the host between small passes."""
LOGIT_BUDGET = 1 << 26
"""Most logits of a pass that keeps them in memory: 256 MiB in float32."""
CPU_SEQUENCES = 64
"""Most sequences of a pass on a CPU. More are not faster there and need more padding.

A GPU computes all tokens of the budget at once, and waits for the host in passes that are smaller.
"""
CACHE_BUDGET = 1 << 28
"""Most bytes of the keys and values of a pass that follows cached prefixes."""


@dataclass(frozen=True)
class Budget:
    """Limits of a pass. `tokens` counts padding. None does not limit.

    `cached` limits the tokens in the cache of a pass that follows prefixes. If it is None no pass does.
    """

    tokens: int
    sequences: int | None = None
    padding: int | None = None
    cached: int | None = None

    def shared(self, models: int) -> Budget:
        """Return the limits of a pass whose rows are in memory for several models."""
        return replace(self, tokens=self.tokens // models)

    def holds(self, sequences: int, longest: int) -> bool:
        """Return True if a pass may have so many sequences of at most `longest` tokens."""
        return sequences * longest <= self.tokens and (self.sequences is None or sequences <= self.sequences)

    def pads(self, sequences: int, longest: int, tokens: int) -> bool:
        """Return True if a pass may pad so many sequences with so many `tokens` to `longest` tokens each."""
        return self.padding is None or sequences * longest - tokens <= self.padding


@dataclass(frozen=True)
class Pass:
    """Sequences of one forward pass, by their indices. With prefixes, a first pass computes these.

    `prefixes` are token ids. Member i begins with prefix `chosen[i]`; the pass computes what follows.
    """

    members: list[int]
    prefixes: list[Sequence[int]]
    chosen: list[int]


def budget(head: LanguageHead) -> Budget:
    """Return the limits of a pass for the model of `head` on its device. A head that is not fused takes fewer tokens."""
    tokens = TOKEN_BUDGET if head.fused else max(1, LOGIT_BUDGET // head.vocabulary)
    cached = None if head.cached is None else CACHE_BUDGET // head.cached
    return on_device(Budget(tokens, cached=cached), head.model.device)


def on_device(limits: Budget, device: torch.device) -> Budget:
    """Return `limits` with those that only a CPU has."""
    if device.type != "cpu":
        return limits
    return replace(limits, tokens=min(limits.tokens, CPU_TOKENS), sequences=CPU_SEQUENCES, padding=CPU_PADDING)


def batches(lengths: Sequence[int], limits: Budget) -> Iterator[list[int]]:
    """PrefixGroup the indices of `lengths` into batches of sequences with similar length, within `limits`.

    A batch has at least one sequence.
    """
    batch: list[int] = []
    tokens = 0
    for index in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        size, longest = len(batch) + 1, lengths[index]
        if batch and not (limits.holds(size, longest) and limits.pads(size, longest, tokens + longest)):
            yield batch
            batch, tokens = [], 0
        batch.append(index)
        tokens += longest
    if batch:
        yield batch


def passes(sequences: Sequence[Sequence[int]], contexts: Sequence[int], limits: Budget) -> Iterator[Pass]:
    """Divide sequences of token ids into passes within `limits`. Each sequence is in one of them.

    The first row that sequence i needs is that of token `contexts[i]` - 1, so no prefix takes this token. The last token
    needs no row.
    """
    longest = [max(0, min(context, len(one) - 1) - 1) for one, context in zip(sequences, contexts, strict=True)]
    groups = [] if limits.cached is None else prefix_groups(sequences, longest)
    grouped = {index for group in groups for index in group.members}
    alone = [index for index in range(len(sequences)) if index not in grouped]
    for batch in batches([len(sequences[index]) for index in alone], limits):
        yield Pass([alone[place] for place in batch], [], [])
    waiting: list[PrefixGroup] = []
    for part in _parts(groups, sequences, limits) if groups else ():
        if waiting and not _fits([*waiting, part], sequences, limits):
            yield _after_prefixes(waiting, sequences)
            waiting = []
        waiting.append(part)
    if waiting:
        yield _after_prefixes(waiting, sequences)


def _parts(groups: Sequence[PrefixGroup], sequences: Sequence[Sequence[int]], limits: Budget) -> Iterator[PrefixGroup]:
    """Yield the groups, by rising length of their prefixes, cut into parts that fit into a pass."""
    assert limits.cached is not None
    for group in sorted(groups, key=lambda one: one.length):
        rest = [len(sequences[index]) - group.length for index in group.members]
        most = max(1, limits.cached // (group.length + max(rest)) - 1)
        own = replace(limits, sequences=most if limits.sequences is None else min(most, limits.sequences))
        for batch in batches(rest, own):
            yield PrefixGroup(group.length, [group.members[place] for place in batch])


def _fits(parts: Sequence[PrefixGroup], sequences: Sequence[Sequence[int]], limits: Budget) -> bool:
    """Return True if one pass may compute parts of groups, and another one their prefixes."""
    rest = [len(sequences[index]) - part.length for part in parts for index in part.members]
    prefixes = [part.length for part in parts]
    assert limits.cached is not None
    kept = max(prefixes) * len(prefixes) + (max(prefixes) + max(rest)) * len(rest)
    return kept <= limits.cached and all(
        limits.holds(len(own), max(own)) and limits.pads(len(own), max(own), sum(own)) for own in (rest, prefixes)
    )


def _after_prefixes(parts: Sequence[PrefixGroup], sequences: Sequence[Sequence[int]]) -> Pass:
    return Pass(
        [index for part in parts for index in part.members],
        [sequences[part.members[0]][: part.length] for part in parts],
        [number for number, part in enumerate(parts) for _ in part.members],
    )
