"""Conflicts between values, names of arms that are refused, and keys without effect."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from autophage.recipe import LoadedRecipe
from autophage.recipe.inert import RULES
from autophage.recipe.keys import KEYS
from autophage.recipe.tables.gate import GATE

Load = Callable[..., LoadedRecipe]
Refuse = Callable[..., str]
NAME = 'name = "x"\n'
TEXT = NAME + 'source.kind = "text"\nsource.path = "a.txt"\n'


@pytest.mark.parametrize("kind", ["text", "dataset"])
def test_a_source_without_a_path(refuse: Refuse, kind: str) -> None:
    message = refuse(NAME + f'[source]\nkind = "{kind}"\n')
    assert message.startswith(
        f'demo.toml:3:8: source.kind = "{kind}" needs source.path\n    give source.path, for example'
    )


def test_a_world_is_not_instructed(refuse: Refuse) -> None:
    head = 'sample.prompts = "instruct" needs a text to continue, but source.kind = "world" has none'
    assert refuse(NAME + 'sample.prompts = "instruct"\n').startswith(f"demo.toml:2:18: {head}\n")
    assert refuse(NAME, "sample.prompts=instruct").startswith(f"--set sample.prompts=instruct: {head}\n")
    swept = refuse(NAME + '[sweep]\n"sample.prompts" = ["bos", "instruct"]\n')
    assert swept.startswith(f"demo.toml:3:28: {head} (in arm prompts-instruct)\n")


def test_an_annotation_leaves_something_to_write(load: Load, refuse: Refuse) -> None:
    told = TEXT + 'source.continuation = 8\nsample.prompts = "annotated"\n'
    assert load(told, "sample.annotation=7").recipe.max_tokens == 1
    refused = refuse(told, "sample.annotation=8")
    assert refused.startswith("--set sample.annotation=8: sample.annotation = 8 leaves no tokens to write")
    assert load(NAME, "sample.prompts=annotated", "mix.domain=city").recipe.max_tokens == 64


def test_a_domain_of_a_world_is_one_of_its_attributes(load: Load, refuse: Refuse) -> None:
    assert load(NAME, "mix.domain=city", "sample.prompts=blocks").recipe.mix.domain == "city"
    assert refuse(NAME, "mix.domain=religion", "sample.prompts=blocks").startswith(
        '--set mix.domain=religion: mix.domain = "religion": the domains of a world are city, job, employer, hobby'
    )
    assert "needs prompts of that domain" in refuse(NAME, "mix.domain=city")


def test_the_attributes_are_those_of_the_world() -> None:
    from autophage.data.world import ATTRIBUTES
    from autophage.recipe.checks.data import WORLD_DOMAINS

    assert WORLD_DOMAINS == ATTRIBUTES


def test_a_gpu_is_not_divided_by_more_cells_than_there_are(load: Load, refuse: Refuse) -> None:
    refused = refuse(NAME, "cluster.cells_per_gpu=4", "cluster.cells=2")
    assert refused.startswith(
        "--set cluster.cells_per_gpu=4: cluster.cells_per_gpu = 4 divides a GPU by 4, but the run has 2 cells\n"
    )
    assert 'set cluster.cells to 4 or more, or to "auto"' in refused
    for cells in ("4", "8", "auto"):
        assert load(NAME, "cluster.cells_per_gpu=4", f"cluster.cells={cells}").recipe.cluster.sharing == 4
    assert load(NAME, "cluster.cells_per_gpu=auto").recipe.cluster.sharing == 1


def test_a_key_takes_a_number_or_auto(load: Load, refuse: Refuse) -> None:
    assert load(NAME, "sample.concurrency=auto").recipe.sample.concurrency == "auto"
    assert load(NAME, "sample.concurrency=300").recipe.sample.sequences == 300
    told = 'sample.concurrency must be an integer from 1 to 4096, or "auto".'
    assert "did you mean --set 'sample.concurrency=\"auto\"'?" in refuse(NAME, "sample.concurrency=atuo")
    for value, wrong in (
        ("0", "too small"),
        ("1.5", "a decimal number, not an integer"),
        ("[1]", "a list, not an integer"),
    ):
        refused = refuse(NAME, f"sample.concurrency={value}")
        assert wrong in refused
        assert refused.count(told) == 1


def test_beams_and_the_best_epoch_need_one_device(load: Load, refuse: Refuse) -> None:
    spare = ("measure.documents=20", "source.held_out_documents=40")
    assert load(NAME, "sample.beams=5", "train.keep=best", *spare).recipe.sample.beams == 5
    assert "beam search runs on one GPU" in refuse(NAME, "sample.beams=5", "cluster.sampler_gpus=2")
    assert "needs a trainer on one GPU" in refuse(NAME, "train.keep=best", "cluster.trainer_gpus=2")
    assert "train.compile compiles layers on one GPU" in refuse(NAME, "train.compile=true", "cluster.trainer_gpus=2")
    assert "may keep an earlier one" in refuse(NAME, "train.keep=best", "train.optimizer=carried")
    assert "is the same for all arms" in refuse(NAME, "sweep.sample.beams=[1, 5]")


def test_the_best_epoch_needs_documents_that_are_not_measured(load: Load, refuse: Refuse) -> None:
    measured = ("measure.documents=40", "source.held_out_documents=40")
    said = refuse(NAME, "train.keep=best", *measured)
    assert "all 40 are measured (measure.documents = 40)" in said
    assert "source.held_out_documents = 104" in said
    load(NAME, "train.keep=best", "measure.documents=40", "source.held_out_documents=41")
    load(NAME, *measured)


def test_bos_is_for_worlds_and_texts(load: Load) -> None:
    assert load(NAME, "sample.prompts=bos").recipe.sample.prompts == "bos"
    assert load(TEXT, "sample.prompts=bos").recipe.sample.prompts == "bos"


def test_heads_that_do_not_divide(refuse: Refuse) -> None:
    assert refuse(NAME + "[base]\nheads = 5\n") == "\n".join(
        [
            "demo.toml:3:9: base.hidden_size = 192 is not a multiple of base.heads = 5",
            "    hidden_size / heads must be a head size that vLLM serves: "
            "32, 64, 80, 96, 112, 128, 160, 192, 224, 256",
            "    with hidden_size = 192, heads may be 1, 2, 3, 6",
            "    with heads = 5, hidden_size may be 160, 320, 400, 480, 560, 640, 800, 960, 1120, 1280",
        ]
    )


def test_heads_of_a_size_that_is_not_served(refuse: Refuse, load: Load) -> None:
    head = "base.hidden_size = 48 by base.heads = 3 gives a head size of 16\n"
    assert refuse(NAME + "[base]\nhidden_size = 48\n").startswith(f"demo.toml:3:15: {head}")
    assert load(NAME + '[base]\nhidden_size = 48\n[model]\npath = "gpt2"\n').recipe.base.hidden_size == 48


def test_whole_weights_on_several_gpus(refuse: Refuse, load: Load) -> None:
    head = 'model.method = "full" trains on one GPU, but cluster.trainer_gpus = 2'
    several = NAME + "[cluster]\ntrainer_gpus = 2\n"
    assert refuse(several, "model.method=full").startswith(f"demo.toml:3:16: {head}\n")
    swept = refuse(several + '[sweep]\n"model.method" = ["lora", "full"]\n')
    assert f"{head} (in arm method-full)\n" in swept
    assert load(several).recipe.cluster.trainer_gpus == 2
    assert load(NAME, "model.method=full").recipe.model.method == "full"


def test_what_a_trainer_over_several_gpus_cannot_look_at(refuse: Refuse, load: Load) -> None:
    several = NAME + "[cluster]\ntrainer_gpus = 2\n"
    head = "anchor.reference needs a trainer on one GPU, but cluster.trainer_gpus = 2"
    assert refuse(several, "anchor.kl=0.1").startswith(f"demo.toml:3:16: {head}\n")
    assert head in refuse(several, "anchor.objective=distill")
    assert "mix.human_edit needs a trainer" not in refuse(several, "anchor.kl=0.1", "mix.human_edit=0.9")
    assert "mix.human_edit needs a trainer on one GPU" in refuse(several, "mix.human_edit=0.9")
    assert load(several, "anchor.truncate=0.9").recipe.anchor.truncate == 0.9


def test_arm_names_that_collide(refuse: Refuse) -> None:
    message = refuse(NAME + '[sweep]\n"sample.system" = ["Hi!", "Hi?"]\n')
    assert message.startswith(
        'demo.toml:3:27: "Hi!" and "Hi?" of sample.system give the same arm name \'system-Hi-\'\n'
    )


def test_arm_names_that_are_too_long(refuse: Refuse, load: Load) -> None:
    message = refuse(NAME + f'[sweep]\n"sample.system" = ["{"a" * 114}"]\n')
    assert message.startswith("demo.toml:3:1: the arm name 'system-aaaa")
    assert "has 121 characters; the limit is 120" in message
    assert load(NAME + f'[sweep]\n"sample.system" = ["{"a" * 113}"]\n').arms[0].name == "system-" + "a" * 113


def test_a_sweep_that_nobody_meant(refuse: Refuse) -> None:
    keys = ("train.epochs", "sample.count", "train.batch_size", "seed", "train.learning_rate", "sample.max_tokens")
    lines = [
        f'"{key}" = {list(range(1000, 1100)) if key == "sample.max_tokens" else list(range(1, 101))}' for key in keys
    ]
    message = refuse(NAME + "[sweep]\n" + "\n".join(lines))
    assert "demo.toml:2:2: the sweep has 1,000,000,000,000 combinations; the limit of a run is 1,000" in message


# Keys without effect

WORLD_ONLY = ["source.people=20", "source.zipf=1.0", "source.held_out_documents=9", "source.seed=1"]
PROBES = ['measure.formats=["cloze"]', "measure.probes=3"]
NO_PROBES = 'probes need source.kind = "world"'
NOTHING_ASKED = f"{NO_PROBES}, and there are no questions"


@pytest.mark.parametrize(
    ("text", "override", "reason"),
    [
        (NAME, "base.layers=2", None),
        (NAME + 'model.path = "gpt2"\n', "base.layers=2", 'model.path is not "from-source"'),
        (NAME, "base.vocabulary=300", "a world has its own word list"),
        (TEXT, "base.vocabulary=300", None),
        *((TEXT, override, 'source.kind is not "world"') for override in WORLD_ONLY),
        *((NAME, override, None) for override in WORLD_ONLY),
        *((TEXT, override, NO_PROBES) for override in PROBES),
        *((NAME, override, None) for override in PROBES),
        (TEXT, "measure.confident=0.6", NOTHING_ASKED),
        (NAME, "measure.confident=0.6", None),
        (NAME, "source.path=x", 'source.kind is "world"'),
        (NAME, "source.block=3", 'source.kind is "world"'),
        (NAME, "source.held_out=0.2", 'source.kind is "world"'),
        (TEXT, "source.continuation=3", None),
        (TEXT, "source.split=test", 'source.kind is not "dataset"'),
        (TEXT, "source.kind=dataset", None),
        (NAME, "sample.prompt_set=fixed", "prompts are the start token alone"),
        (TEXT, "sample.prompt_set=fixed", None),
        (TEXT, "sample.system=x", None),
        (TEXT + 'sample.prompts = "blocks"\n', "sample.system=x", 'sample.prompts is not "instruct"'),
        (TEXT, "sample.annotation=3", 'sample.prompts is not "annotated"'),
        (TEXT + 'sample.prompts = "annotated"\n', "sample.annotation=3", None),
        (TEXT + 'sample.prompts = "annotated"\n', "sample.system=x", 'sample.prompts is not "instruct"'),
        (
            NAME + 'sample.prompts = "annotated"\n',
            "sample.annotation=3",
            "the beginning of a world's document ends with the first name",
        ),
        (NAME + 'sample.prompts = "annotated"\n', "sample.prompt_set=fixed", None),
        (NAME, "train.loss_on=all", "prompts are the start token alone, so all choices are equal"),
        (TEXT, "train.loss_on=all", None),
        (NAME, "mix.human=fixed", None),
        (
            NAME + "control.enabled = false\n",
            "mix.human=fixed",
            "every arm is trained on synthetic data alone, and there is no control",
        ),
        (NAME + 'control.enabled = false\nmix.pool = "accumulate"\n', "mix.human=fixed", None),
        (NAME + "control.enabled = false\nsweep.mix.alpha = [1.0, 0.5]\n", "mix.human=fixed", None),
        (
            NAME,
            "mix.human_edit=0.9",
            "every arm is trained on synthetic data alone; the human text of a control is not edited",
        ),
        (NAME + "mix.alpha = 0.5\n", "mix.human_edit=0.9", None),
        (NAME + 'mix.pool = "accumulate"\n', "mix.human_edit=0.9", None),
        (NAME, "anchor.kl=0.1", None),
        (NAME, "anchor.direction=reverse", "anchor.kl is 0"),
        (NAME, "anchor.reference=teacher", "anchor.kl is 0, and nothing is distilled"),
        (NAME + "anchor.kl = 1\n", "anchor.reference=teacher", None),
        (NAME, "anchor.trust=2", 'anchor.objective is not "distill"'),
        (NAME, "anchor.objective=distill", None),
        (NAME + 'anchor.objective = "distill"\n', "anchor.outliers=mask", "anchor.trust is left out"),
        (NAME + 'anchor = {objective = "distill", trust = 2.0}\n', "anchor.outliers=mask", None),
        (NAME + "mix.alpha = 0\n", "anchor.objective=distill", "there is no synthetic text to distil on"),
        (NAME, "anchor.truncate=0.9", None),
        (
            NAME + 'control.enabled = false\nanchor.objective = "distill"\n',
            "anchor.truncate=0.9",
            "every arm distils on all of its text, so there is no cross-entropy",
        ),
        (NAME + "mix.alpha = 0\nmix.human_edit = 0.9\n", "control.enabled=true", None),
        (NAME + "sample.temperature = 0\n", "sample.top_k=3", "sample.temperature = 0 is greedy"),
        (NAME, "sample.top_k=3", None),
        (NAME + 'train.schedule = "constant"\n', "train.warmup=0.1", None),
        (NAME + "mix.alpha = 0\n", "control.enabled=true", "every arm is trained on human data alone"),
    ],
)
def test_a_key_without_effect_is_a_warning(load: Load, text: str, override: str, reason: str | None) -> None:
    key = override.partition("=")[0]
    expected = [] if reason is None else [f"--set {override}: {key} has no effect: {reason}"]
    assert load(text, override).warnings == expected


def test_warnings_say_the_line_and_come_in_file_order(load: Load) -> None:
    text = (
        TEXT
        + '[sweep]\n"measure.confident" = [0.5, 0.7]\n"mix.alpha" = [1.0]\n[measure]\nprobes = 3\n[mix]\nalpha = 0.5\n'
    )
    assert load(text, "source.seed=3").warnings == [
        'demo.toml:5: sweeping measure.confident has no effect: probes need source.kind = "world", and there are no questions',
        'demo.toml:8: measure.probes has no effect: probes need source.kind = "world"',
        "demo.toml:10: mix.alpha has no effect: it is swept (demo.toml:6)",
        '--set source.seed=3: source.seed has no effect: source.kind is not "world"',
    ]


def test_rules_name_keys_that_exist() -> None:
    for rule in RULES:
        for name in rule.keys:
            assert any(rule.covers(key) and key.startswith(name.rstrip("*")) for key in [*KEYS, GATE]), name
