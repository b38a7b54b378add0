"""`[sample]`: what a model is asked, and how it writes."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from autophage.recipe.tables.table import LARGEST, Positive, Table

MADE: Final = "made"
"""Prompts that a maker writes."""


class SampleTable(Table):
    prompts: Literal["auto", "bos", "blocks", "instruct", "annotated"] = Field(
        "auto",
        description="bos: nothing but the start token; blocks: continue a block of text, or the first statement of a world's "
        "document; instruct: the same block of text, asked for through the model's chat template; annotated: the beginning "
        "of a human document, which says what it is about (arXiv 2605.09995); auto: bos for a world, instruct where the model "
        "has a chat template, else blocks",
    )
    annotation: Positive = Field(
        4, description="annotated: tokens of a text's beginning; a world's documents are begun up to the first name"
    )
    prompt_set: Literal["fresh", "fixed"] = Field("fresh", description="new blocks each generation, or the same ones")
    system: str = Field(
        "You complete texts without any preamble or commentary. Only continue the input text naturally.",
        description="instruct: the system message",
    )
    count: Positive = Field(600, description="samples per arm and generation")
    oversample: float = Field(
        1.0, ge=1.0, le=100.0, description="documents written for each of `count` rows, so that gates have a choice"
    )
    max_tokens: Positive | None = Field(
        None, description="tokens of a sample; left out: source.continuation, or 64 for a world"
    )
    end: Literal["auto", "stop", "ignore"] = Field(
        "auto",
        description="stop: a sample ends where the model ends it; ignore: it always has max_tokens; auto: ignore for texts, "
        "whose human continuations have a fixed length too, so that arms differ in nothing but who wrote; stop for makers",
    )
    temperature: float = Field(1.0, ge=0.0, le=10.0, description="0 is greedy")
    top_p: float = Field(1.0, gt=0.0, le=1.0, description="nucleus mass; 1 keeps the whole distribution")
    top_k: int = Field(0, ge=0, le=LARGEST, description="0 keeps the whole distribution")
    repetition_penalty: float = Field(
        1.0,
        ge=1.0,
        le=10.0,
        description="divides the logits of tokens that occurred already (arXiv 1909.05858); 1 is none",
    )
    beams: int = Field(
        1, ge=1, le=64, description="more than 1: beam search instead of sampling, by transformers in place of vLLM"
    )
    concurrency: int = Field(256, ge=1, le=4096, description="sequences the sampler holds in one batch")
    batching: Literal["auto", "fixed", "continuous"] = Field(
        "auto",
        description="fixed: arms that together do not fill the sampler are one batch, the same whatever happens, so that "
        "corpora are exact; continuous: each arm joins the running batch as soon as its model is ready; auto: fixed on a "
        "CPU, continuous on a GPU. With devices = serial always fixed",
    )
    memory: float | None = Field(None, gt=0, description="GiB of KV cache on a CPU; share of the device on a GPU")

    @property
    def written(self) -> int:
        """Documents of a corpus; a mix takes `count` rows of what gates accept."""
        return round(self.count * self.oversample)
