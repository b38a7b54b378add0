"""Gates with a named model: real folders, tiny models of random weights, unusable models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from autophage.errors import RunError, UserError
from autophage.gates import Context, Gate, Verdict
from autophage.gates.detector import Detector
from autophage.gates.embedding import Encoder
from autophage.gates.entailment import EntailmentGate
from autophage.gates.models import Judge, NamedModel
from autophage.gates.novelty import Novelty
from autophage.gates.quality import Quality
from autophage.gates.reward import Reward
from autophage.gates.surprise import Surprise
from autophage.progress import Meter
from autophage.recipe.arms import Arm
from autophage.stages.judging import Judging
from autophage.store.corpus import Sample
from autophage.trainer.resident import ResidentModel

pytestmark = pytest.mark.thorough

Make = Callable[..., Sample]
MakeClassifier = Callable[..., Path]
Said = Callable[[list[Verdict]], list[str]]

WORDS = "the harbour was calm and a pilot slept while it rained in town".split()
NLI = ["CONTRADICTION", "NEUTRAL", "ENTAILMENT"]
TEXTS = [f"the harbour was calm {word}" for word in ("town", "pilot", "slept", "rained", "while", "and")]


def corpus(sample: Make) -> list[Sample]:
    return [sample(text) for text in TEXTS]


def test_a_judge_is_the_classifiers_own_softmax(make_classifier: MakeClassifier) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = make_classifier(["poor", "good"])
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    for text, value in zip(TEXTS, Judge(str(folder), "good", "gate.model").values(TEXTS), strict=True):
        expected = model(**tokenizer(text, return_tensors="pt")).logits[0].softmax(-1)[1]
        assert value == pytest.approx(float(expected), abs=1e-5)
    assert Judge(str(folder), "good", "gate.model").values([]) == []


def test_a_judge_needs_a_label_that_is_there(make_classifier: MakeClassifier, tmp_path: Path) -> None:
    folder = str(make_classifier(["poor", "good"]))
    with pytest.raises(UserError, match=r"which label is meant\? Its labels are: poor, good. Name one"):
        Judge(folder, None, "gate.model")
    with pytest.raises(UserError, match="it has no label 'fine'"):
        Judge(folder, "fine", "gate.model")
    with pytest.raises(UserError, match=r"gate.model = '.*nowhere': cannot be loaded"):
        Judge(str(tmp_path / "nowhere"), None, "gate.model")
    with pytest.raises(UserError, match=r"gate.model = '.*nowhere': cannot be loaded"):
        Encoder(str(tmp_path / "nowhere"))


def test_quality_by_a_model(context: Context, sample: Make, make_classifier: MakeClassifier, said: Said) -> None:
    folder = make_classifier(["poor", "good"])
    values = sorted(Judge(str(folder), "good", "gate.model").values(TEXTS))
    gate = Quality(model=str(folder), label="good", threshold=(values[2] + values[3]) / 2)
    verdicts = said(gate.judge([*corpus(sample), sample("...")], context))
    assert (verdicts.count("accept"), verdicts.count("reject: low quality")) == (3, 3)
    assert verdicts[-1] == "abstain: no words"


def test_a_reward_model_with_one_output(
    context: Context, sample: Make, make_classifier: MakeClassifier, said: Said
) -> None:
    folder = str(make_classifier(["reward"]))
    values = Judge(folder, None, "gate.model").values(TEXTS)
    assert min(values) < 0 or max(values) > 1  # no probabilities
    verdicts = said(Reward(reward="model", model=folder, thresholds=[0.5]).judge(corpus(sample), context))
    assert [one == "accept" for one in verdicts] == [value >= sorted(values)[3] for value in values]


@pytest.mark.parametrize("kind", [Reward, Quality, Detector, EntailmentGate])
def test_a_model_that_answers_nan_stops_the_run(
    kind: type, context: Context, sample: Make, make_classifier: MakeClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = {"label": "ENTAILMENT"} if kind is not EntailmentGate else {}
    extra = {"reward": "model"} if kind is Reward else {}
    gate = kind(model=str(make_classifier(NLI, broken=True)), **labels, **extra)
    monkeypatch.setattr(type(context), "human", lambda *_: TEXTS)
    with pytest.raises(RunError, match=r"of sample the harbour was calm town is nan. Nothing was committed"):
        gate.judge(corpus(sample), context)


def test_entailment_by_a_model(
    context: Context, sample: Make, make_classifier: MakeClassifier, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    from autophage.trainer.entailment import Entailment

    folder = str(make_classifier(NLI))
    monkeypatch.setattr(type(context), "human", lambda *_: TEXTS)
    values = Entailment(folder).probabilities(TEXTS, TEXTS)
    gate = EntailmentGate(model=folder, passages=1, threshold=(min(values) + max(values)) / 2)
    verdicts = said(gate.judge([*corpus(sample), sample("?"), sample("zzz")], context))
    assert [one == "accept" for one in verdicts[:6]] == [value >= gate.threshold for value in values]
    assert {"accept", "reject: not entailed"} == set(verdicts[:6])
    assert verdicts[6:] == ["abstain: nothing stated", "reject: no passage bears on it"]


def test_a_classifier_of_something_else_is_no_judge_of_entailment(
    context: Context, sample: Make, make_classifier: MakeClassifier
) -> None:
    folder = str(make_classifier(["glad", "not_entailed"]))
    with pytest.raises(
        UserError, match=r"gate.model = .* is no entailment classifier.*Its labels are: glad, not_entailed"
    ):
        EntailmentGate(model=folder).judge(corpus(sample), context)


def test_novelty_by_meaning(
    context: Context, sample: Make, make_classifier: MakeClassifier, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(make_classifier(NLI))
    vectors = Encoder(folder).encode(TEXTS)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(len(TEXTS)), abs=1e-5)
    monkeypatch.setattr(type(context), "human", lambda *_: TEXTS[:1])
    samples = [sample(TEXTS[0]), sample("rained rained rained"), sample("rained rained rained", "again"), sample("...")]
    assert said(Novelty(model=folder, distance=1e-4).judge(samples, context)) == [
        "reject: near human text", "accept", "reject: near another sample", "abstain: no words",
    ]  # fmt: skip


def test_a_detector_by_a_model_draws_by_its_weights(
    context: Context, sample: Make, make_classifier: MakeClassifier, said: Said
) -> None:
    folder = str(make_classifier(["human", "machine"]))
    samples = [sample(text, f"{text} {number}") for number in range(60) for text in TEXTS]
    verdicts = Detector(model=folder, label="machine", repeats=100).judge(
        [*samples, sample("", "none", logprob=[])], context
    )
    assert verdicts[-1].reason == "no tokens"
    drawn = np.array([0.0 if one.reason else one.weight for one in verdicts[:-1]]).reshape(60, len(TEXTS)).sum(0)
    weights = (1 - np.array(Judge(folder, "machine", "gate.model").values(TEXTS))) ** 10
    assert drawn.sum() == pytest.approx(sum(one.ruling.value == "accept" for one in verdicts))
    assert drawn / drawn.sum() == pytest.approx(weights / weights.sum(), abs=0.1)


@pytest.fixture
def named(tmp_path: Path) -> str:
    """Build a folder with a tiny Llama of random weights and 16 positions, loadable by transformers."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from autophage.data.tokens import word_tokenizer

    tokenizer = word_tokenizer(WORDS)
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=1,
            num_key_value_heads=1, max_position_embeddings=16, initializer_range=0.5,
        )
    )  # fmt: skip
    model.save_pretrained(tmp_path / "named")
    tokenizer.save_pretrained(tmp_path / "named")
    return str(tmp_path / "named")


def test_surprise_of_a_named_model_is_its_own(context: Context, sample: Make, said: Said, named: str) -> None:
    from transformers import AutoTokenizer, LlamaForCausalLM

    long = " ".join(WORDS * 3)
    model = NamedModel(named)
    found = model.score([("calm town", "the pilot slept"), ("", ""), (long, long)])
    assert [len(one.logprob) for one in found] == [3, 0, 15]
    assert model.tokens_read == 6 + 1 + 16
    text = "<s> calm town the pilot slept"
    ids = AutoTokenizer.from_pretrained(named)(text, return_tensors="pt", add_special_tokens=False).input_ids
    expected = LlamaForCausalLM.from_pretrained(named).eval()(ids).logits[0].log_softmax(-1)[range(2, 5), ids[0, 3:]]
    assert found[0].logprob == pytest.approx(expected.detach().numpy(), abs=1e-4)
    verdicts = said(Surprise(model=named).judge([*corpus(sample), sample("")], context))
    assert (verdicts.count("accept"), verdicts[-1]) == (3, "abstain: no tokens")


def test_what_named_models_read_is_counted(
    context: Context,
    sample: Make,
    make_classifier: MakeClassifier,
    named: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each text has 5 words. The Llama adds a start token, the BERT adds `[CLS]` and `[SEP]`. A pair has 13 tokens."""
    monkeypatch.setattr(Context, "human", lambda *_: TEXTS)
    folder = str(make_classifier(NLI))
    judges = {
        6: Surprise(model=named, keep=1.0),
        7: Quality(model=folder, label="ENTAILMENT", threshold=0.0),
        13: EntailmentGate(model=folder, passages=1, threshold=0.0),
    }
    encoder = Novelty(model=folder, distance=0.0)
    resident = ResidentModel(named, context.recipe)
    judging = Judging(resident)

    def counted(*gates: Gate) -> dict[str, float]:
        recipe = context.recipe.model_copy(update={"gate": list(gates)})
        arm = Arm("main", recipe, {}, control=False)
        metrics = judging.judge(arm, 1, resident.base_weights(recipe), context.source, corpus(sample), Meter())
        return {one.metric: one.value for one in metrics}

    for length, gate in judges.items():
        assert counted(gate)["speed/judge_tokens"] == len(TEXTS) * length
    assert counted(*judges.values())["speed/judge_tokens"] == len(TEXTS) * sum(judges)
    # Human text is encoded once in a run.
    assert [counted(encoder)["speed/judge_tokens"] for _ in range(2)] == [2 * len(TEXTS) * 7, len(TEXTS) * 7]
    by_base = counted(Surprise(under="base"))
    assert by_base["gate/scored_tokens"] > 0
    assert "speed/judge_tokens" not in by_base
