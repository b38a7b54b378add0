"""What a recipe may say: one frozen pydantic model per TOML table.

Owns names, types, bounds, defaults and the one-line help of every key. It does not know where a value was written
(`load`), how a sweep unfolds (`arms`) or what a key makes the engine do. Torch-free, so that `plan`, `status` and
`report` start at once.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from autophage.recipe.anchor import Anchor
from autophage.recipe.gates import AnyGate
from autophage.recipe.makers import NONE, MakerTable
from autophage.recipe.measure import Measure, Questions
from autophage.recipe.table import LARGEST, Fraction, PathText, Positive, Seed, Table

FROM_SOURCE = "from-source"
ALL = "all"
"""No domain: prompts and human data are about whatever the source is about."""
VALIDATED = 64
"""Held-out documents that an epoch is judged by where the best one is kept; none of them is measured."""
MADE: Final = "made"
"""Prompts that a maker writes."""
LANGUAGE_MODEL: Final = "language-model"
NAKED: Final = "none"
"""The loop without a remedy, which every recipe has."""
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
SUPPORTED_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The adapter ranks vLLM allocates slots for; a rank in between is served from the next larger slot."""


class Learner(Table):
    """What is trained on its own output. All but the language model are small, and work inside one process."""

    kind: Literal["language-model", "gaussian", "mixture", "vae", "ngram", "regression", "classifier"] = Field(
        LANGUAGE_MODEL,
        description="language-model; or one of the learners whose collapse is known in closed form or quickly seen: gaussian, "
        "mixture and vae (arXiv 2305.17493), ngram (its discrete distributions), regression (arXiv 2404.01413), "
        "classifier (of labels that a verifier lets through, arXiv 2406.07515)",
    )
    repetitions: int = Field(
        100,
        ge=1,
        le=100_000,
        description="gaussian, mixture, regression, classifier: independent chains of an arm; intervals are over them",
    )
    components: int = Field(2, ge=1, le=64, description="mixture: Gaussian components that are fitted")
    dimensions: int = Field(10, ge=1, le=1000, description="regression, classifier: features of a row")
    noise: float = Field(
        1.0, gt=0, description="regression: standard deviation of a label about the model that writes it"
    )
    separation: float = Field(
        1.5, gt=0, le=10, description="classifier: distance of a class's mean from the boundary, in standard deviations"
    )
    error: Fraction = Field(0.2, description="classifier: share of human labels that are wrong")
    keep_right: Fraction = Field(1.0, description="classifier: share of right labels that the verifier keeps")
    keep_wrong: Fraction = Field(1.0, description="classifier: share of wrong labels that the verifier keeps")
    order: int = Field(2, ge=1, le=5, description="ngram: words of an n-gram; nothing is smoothed")
    latent: int = Field(20, ge=1, le=512, description="vae: dimensions of the latent space")
    hidden: int = Field(400, ge=8, le=8192, description="vae: units of the hidden layer of encoder and of decoder")


class Model(Table):
    path: PathText = Field(
        FROM_SOURCE,
        description='a model folder, a hub id, or "from-source": a small base model trained on the source and cached',
    )
    method: Literal["lora", "full"] = Field(
        "lora", description="what is trained: a LoRA adapter on every linear layer (lora), or all weights (full)"
    )
    rank: int = Field(32, ge=1, le=SUPPORTED_RANKS[-1], description="lora: rank of the adapter")
    lora_alpha: float | None = Field(None, gt=0, description="lora: scale numerator; twice the rank when left out")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="compute type of sampler and trainer; auto is float32 on a CPU and bfloat16 on a GPU"
    )

    @property
    def scale_numerator(self) -> float:
        return 2.0 * self.rank if self.lora_alpha is None else self.lora_alpha


class Base(Table):
    """The small Llama that is trained from scratch when `model.path` is "from-source"."""

    hidden_size: int = Field(192, ge=32, le=4096, description="width; a multiple of heads")
    layers: int = Field(4, ge=1, le=64, description="decoder layers")
    heads: int = Field(3, ge=1, le=64, description="attention heads; hidden_size / heads must be a size vLLM serves")
    vocabulary: int = Field(
        4096, ge=300, le=65536, description="byte-level BPE entries (texts; a world has a word list)"
    )
    tokens: int = Field(1_000_000, ge=1000, le=LARGEST, description="training tokens")
    batch_size: Positive = Field(48, description="rows of a training step")
    length: int = Field(64, ge=8, le=4096, description="tokens of a training row")
    learning_rate: float = Field(2e-3, gt=0, description="peak learning rate (AdamW, linear decay)")
    seed: Seed = Field(0, description="initial weights and data order")


class Source(Table):
    kind: Literal["world", "text", "dataset"] = Field("world", description="where human data comes from")
    path: PathText | None = Field(
        None, description="text: a UTF-8 file or folder; dataset: a hub id or a local dataset folder"
    )
    config: str | None = Field(None, min_length=1, description="dataset: its configuration, as in wikitext-2-raw-v1")
    split: str = Field("train", min_length=1, description="dataset: the split to read")
    test_split: str | None = Field(
        None,
        min_length=1,
        description="dataset: the split that is held out for measuring, instead of a share of `split`",
    )
    column: str = Field("text", min_length=1, description="dataset: the column that holds the text")
    block: Positive = Field(64, description="text, dataset: tokens of a prompt block")
    continuation: Positive = Field(64, description="text, dataset: tokens that continue a block")
    held_out: float = Field(0.1, gt=0.0, lt=1.0, description="text, dataset: share at the end kept for measuring")
    people: int = Field(300, ge=10, le=100_000, description="world: people; each has four facts")
    zipf: float = Field(0.8, ge=0.0, le=4.0, description="world: exponent of a person's exposure, by rank")
    held_out_documents: Positive = Field(200, description="world: documents kept for measuring")
    choices: Fraction = Field(
        0.0, description="world: share of documents that ask with four options to choose from, as questions may"
    )
    seed: Seed = Field(0, description="world: which world; the run's seed does not change it")


class Sample(Table):
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


class Mix(Table):
    alpha: Fraction = Field(1.0, description="synthetic fraction of what is trained on")
    schedule: Literal["constant", "decay", "last-chance"] = Field(
        "constant",
        description="of the fraction. decay: human text runs out, from alpha to alpha_final by equal steps; last-chance: alpha, "
        "and alpha_final for the last model alone",
    )
    alpha_final: Fraction | None = Field(
        None,
        description="synthetic fraction that the last model is trained on; left out: 1 with decay, 0 with last-chance",
    )
    rare: float = Field(
        1.0,
        ge=1.0,
        le=1000.0,
        description="how many times as often human documents about the rare are drawn: those that name a person of the tail "
        "first; of a text, the quarter of its windows with the most rare tokens",
    )
    pool: Literal["replace", "accumulate", "accumulate-subsample"] = Field(
        "replace", description="which generations' data are trained on (arXiv 2404.01413)"
    )
    human: Literal["fresh", "fixed"] = Field("fresh", description="new human data each generation, or the same")
    human_edit: float | None = Field(
        None,
        gt=0,
        le=1,
        description="tokens of human text that the model gives at least this probability are drawn from it anew before they are "
        "trained on (arXiv 2412.14689); left out: human text stays as it is",
    )
    short: Literal["fewer", "repeat", "human"] = Field(
        "fewer",
        description="where gates accept too few samples: train on fewer rows, repeat those that there are, or take human ones "
        "in their place",
    )
    domain: str = Field(
        ALL,
        min_length=1,
        description="what prompts and human data are about: all; an attribute of the world (city, job, employer, hobby), whose "
        "documents are about nothing else; or keywords (god, church), one of which each window of a text must have",
    )


class Train(Table):
    chain: Literal["cumulative", "restart"] = Field(
        "cumulative", description="model g+1 continues from model g, or starts from the base model"
    )
    optimizer: Literal["fresh", "carried"] = Field(
        "fresh",
        description="AdamW's moments start at zero in each generation, or go on from the arm's previous one (cumulative "
        "chains only); the learning rate's schedule starts again in either case",
    )
    keep: Literal["last", "best"] = Field(
        "last", description="the weights after the last epoch, or after the one that predicts held-out human text best"
    )
    epochs: float = Field(4.0, gt=0, le=1000, description="passes over the mixed corpus; may be fractional")
    learning_rate: float = Field(2e-3, gt=0, description="peak learning rate (AdamW)")
    schedule: Literal["constant", "linear", "cosine"] = Field("linear", description="of the learning rate")
    warmup: Fraction = Field(0.0, description="share of the steps over which the learning rate rises")
    weight_decay: float = Field(0.0, ge=0.0, description="AdamW weight decay")
    batch_size: Positive = Field(32, description="documents of an optimizer step")
    loss_on: Literal["continuation", "completion", "all"] = Field(
        "continuation",
        description="continuation: a sample is a document of its own, with its annotation if it has one; completion: the prompt "
        "is context without loss; all: loss on prompt and completion. The same thing when prompts are bos",
    )
    packing: Literal["auto", "padded", "padding-free"] = Field(
        "auto", description="padding-free needs a variable-length attention kernel; auto takes it where there is one"
    )


class Cluster(Table):
    """Where a run works. None of it changes what is made, so a run may go on with other values."""

    cells: Positive = Field(1, description="sampler and trainer pairs; arms are divided among them")
    sampler_gpus: Positive = Field(
        1, description="GPUs of a cell's sampler (tensor parallel); without a GPU, its processes"
    )
    trainer_gpus: Positive = Field(1, description="GPUs of a cell's trainer (FSDP); without a GPU, its processes")
    cpus: Positive = Field(1, description="cores that a cell asks the cluster for")
    restarts: int = Field(
        3,
        ge=0,
        le=1000,
        description="times that samplers and trainers of a cell that died are started again; counted anew from each commit",
    )
    patience: float = Field(
        600.0,
        gt=0,
        description="seconds without progress after which an actor is looked at, and three times that after which it counts as "
        "hung; stages that are expected to take long get more",
    )
    grace: float = Field(
        90.0,
        ge=0,
        description="seconds that SIGUSR1, by which a scheduler says that the time is nearly up, leaves for commits",
    )


class Control(Table):
    enabled: bool = Field(True, description="an arm with the same steps on human data only")


SweepValue = str | int | float | bool


class Recipe(Table):
    """One run. `[sweep]` maps dotted keys to the values that its arms take; `[remedies.NAME]` to the one of a bundle."""

    name: str = Field(min_length=1, max_length=64, pattern=NAME, description="of the run")
    description: str = Field("", description="one line for `autophage recipes`")
    profile: str = Field(
        "", max_length=64, description="which of the file's [profiles] is meant; --profile chooses too"
    )
    seed: Seed = Field(1, description="of sampling, data order and adapters")
    generations: int = Field(5, ge=1, le=10_000, description="models trained after model 0")
    remedy: str = Field(
        NAKED, max_length=64, pattern=NAME, description="which of [remedies] an arm has; none is the naked loop"
    )
    devices: Literal["serial", "colocated", "disjoint"] = Field(
        "serial",
        description="serial: sampler and trainer take turns; colocated: both at once on one GPU; "
        "disjoint: each its own GPUs. Without a GPU the last two share the cores",
    )
    learner: Learner = Learner()
    model: Model = Model()
    base: Base = Base()
    source: Source = Source()
    sample: Sample = Sample()
    maker: MakerTable = MakerTable()
    mix: Mix = Mix()
    train: Train = Train()
    anchor: Anchor = Anchor()
    measure: Measure = Measure()
    questions: Questions = Questions()
    cluster: Cluster = Cluster()
    gate: list[AnyGate] = Field(default_factory=list, description="what judges samples, one after the other")
    sweep: dict[str, Annotated[list[SweepValue], Field(min_length=1)]] = Field(
        default_factory=dict, description="dotted key -> values; arms are their combinations"
    )
    remedies: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="name -> dotted key -> value: what the arms of that remedy have instead"
    )
    control: Control = Control()

    @property
    def trains_language_model(self) -> bool:
        return self.learner.kind == LANGUAGE_MODEL

    @property
    def refers(self) -> bool:
        """Whether training looks at `anchor.reference`: a second forward pass over what is trained on."""
        synthetic = self.mix.alpha > 0 or self.mix.schedule != "constant"
        return self.anchor.kl > 0 or (self.anchor.distills and synthetic)

    @property
    def has_maker(self) -> bool:
        return self.maker.kind != NONE

    @property
    def annotated(self) -> bool:
        """Whether prompts are the beginnings of the documents that are written."""
        return self.sample.prompts == "annotated" and not self.has_maker

    @property
    def samples_end(self) -> bool:
        """Whether a sample may end itself. Human continuations of a text are cut to length and never do; answers do."""
        if self.sample.end == "auto":
            return self.source.kind == "world" or self.has_maker
        return self.sample.end == "stop"

    @property
    def max_tokens(self) -> int:
        """Tokens a sample may have, with the default of its source filled in."""
        if self.sample.max_tokens is not None:
            return self.sample.max_tokens
        if self.source.kind == "world":
            return 64
        begun = self.sample.annotation if self.annotated else 0
        return max(1, self.source.continuation - begun)
