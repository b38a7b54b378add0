"""`[sample]`: the prompts of a model, and the decoding of its samples."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from autophage.recipe.tables.table import AUTO, LARGEST, AutoOrSequences, Positive, Table

MADE: Final = "made"
"""Form of prompts that a maker writes, in place of a value of `sample.prompts`."""
USUAL_SEQUENCES = 256
"""Sequences in one batch of the sampler on a CPU, where the number decides the last bits, and on a GPU of unknown memory."""


class SampleTable(Table):
    """Prompts and decoding: how model g writes corpus g."""

    prompts: Literal["auto", "bos", "blocks", "instruct", "annotated"] = Field(
        "auto",
        description="Form of the prompts. bos: the start token alone. blocks: a block of text to continue, or the first "
        "statement of a world's document. instruct: the same block of text, in the model's chat template. annotated: the "
        "beginning of a human document, which names its subject (arXiv 2605.09995). auto: bos for a world, instruct for a "
        "model with a chat template, else blocks.",
    )
    annotation: Positive = Field(
        4,
        description="annotated: tokens that are taken from the beginning of a text. The beginning of a world's document ends "
        "with the first name instead.",
    )
    prompt_set: Literal["fresh", "fixed"] = Field(
        "fresh", description="Prompt blocks. fresh: new ones in each generation. fixed: the same ones throughout."
    )
    system: str = Field(
        "You complete texts without any preamble or commentary. Only continue the input text naturally.",
        description="instruct: system message.",
    )
    count: Positive = Field(600, description="Samples per arm and generation.")
    oversample: float = Field(
        1.0,
        ge=1.0,
        le=100.0,
        description="Written samples per sample of `count`. Above 1, gates choose among more samples than are trained on.",
    )
    max_tokens: Positive | None = Field(
        None, description="Maximum tokens of a sample. Left out: source.continuation, or 64 for a world."
    )
    end: Literal["auto", "stop", "ignore"] = Field(
        "auto",
        description="End of a sample. stop: at the model's end token. ignore: always at max_tokens. auto: ignore for texts, "
        "because their human continuations have a fixed length too and arms must differ in the writer alone; stop for a world "
        "and for makers.",
    )
    temperature: float = Field(1.0, ge=0.0, le=10.0, description="Sampling temperature. 0: greedy decoding.")
    top_p: float = Field(1.0, gt=0.0, le=1.0, description="Probability mass of the nucleus. 1: the whole distribution.")
    top_k: int = Field(
        0, ge=0, le=LARGEST, description="Number of most probable tokens that are kept. 0: the whole distribution."
    )
    repetition_penalty: float = Field(
        1.0,
        ge=1.0,
        le=10.0,
        description="Divisor of the logits of tokens that have occurred already (arXiv 1909.05858). 1: no penalty.",
    )
    beams: int = Field(
        1,
        ge=1,
        le=64,
        description="Number of beams. Above 1: beam search by transformers, in place of sampling by vLLM.",
    )
    concurrency: AutoOrSequences = Field(
        AUTO,
        description="Maximum sequences in one batch of the sampler. auto: 256 on a CPU; on a GPU as many as its memory holds, "
        "at most 1024. A run keeps its first choice.",
    )
    batching: Literal["auto", "fixed", "continuous"] = Field(
        "auto",
        description="Composition of the sampler's batches. fixed: arms that together do not fill the sampler form one batch, "
        "always the same one, so that corpora are exact. continuous: an arm joins the running batch as soon as its model is "
        'ready. auto: fixed on a CPU, continuous on a GPU. With devices = "serial": always fixed.',
    )
    memory: float | None = Field(
        None,
        gt=0,
        description="KV cache of the sampler, in GiB on a CPU; share of the device's memory on a GPU. Left out: 4 GiB on a CPU; "
        "on a GPU the share that `autophage plan` shows.",
    )

    @property
    def sequences(self) -> int:
        """Number of sequences in one batch of the sampler; the usual one before a choice for the machine."""
        return USUAL_SEQUENCES if self.concurrency == AUTO else self.concurrency

    @property
    def written(self) -> int:
        """Number of samples in a corpus. A mix takes `count` of those that the gates accept."""
        return round(self.count * self.oversample)
