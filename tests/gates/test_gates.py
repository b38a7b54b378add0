"""Built-in gates without a model: acceptances, rejections, abstentions."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autophage.errors import RunError, UserError
from autophage.gates import Context, Verdict
from autophage.gates.attribution import Attribution
from autophage.gates.detector import Detector, draw_in_proportion
from autophage.gates.entailment import EntailmentGate
from autophage.gates.novelty import Novelty
from autophage.gates.quality import Quality
from autophage.gates.retrieval import PassageIndex, sentences_of
from autophage.gates.reward import Reward
from autophage.gates.surprise import Surprise
from autophage.gates.verifier import Verifier
from autophage.store.corpus import Sample

Make = Callable[..., Sample]
Said = Callable[[list[Verdict]], list[str]]
Draw = Callable[[int], list[str]]


def falsified(document: str, context: Context) -> str:
    """Return the document with its first fact replaced by another city, job, employer or hobby everywhere."""
    assert context.world is not None
    values = [value for known in context.world.values.values() for value in known]
    fact = next(word for word in document.split() if word in values)
    kind = next(known for known in context.world.values.values() if fact in known)
    return document.replace(fact, next(value for value in kind if value != fact))


def test_a_verifier_of_a_world_keeps_facts(context: Context, sample: Make, documents: Draw, said: Said) -> None:
    right, other = documents(2)
    samples = [sample(right), sample(falsified(other, context)), sample("born born in ."), sample("")]
    assert said(Verifier().judge(samples, context)) == [
        "accept", "reject: wrong", "abstain: nothing to check", "abstain: nothing to check",
    ]  # fmt: skip


def test_what_cannot_be_checked_may_be_rejected(context: Context, sample: Make, said: Said) -> None:
    samples = [sample("born born in ."), sample("")]
    assert said(Verifier(unread="reject").judge(samples, context)) == ["reject: nothing to check"] * 2


def test_nobody_is_right_about_a_person_who_is_not_there(context: Context, sample: Make, said: Said) -> None:
    assert said(Verifier().judge([sample("Ada Lovelace works as a doctor .")], context)) == ["reject: wrong"]


def test_keep_rates_are_kept_and_seeded(context: Context, sample: Make, documents: Draw, said: Said) -> None:
    [right] = documents(1)
    wrong = falsified(right, context)
    samples = [sample(right if number % 2 else wrong, str(number)) for number in range(4000)]
    gate = Verifier(keep_right=0.8, keep_wrong=0.3)
    verdicts = gate.judge(samples, context)
    assert verdicts == gate.judge(samples, context)
    counts = Counter(said(verdicts))
    spread = 4 * np.sqrt(2000 * 0.25)
    assert counts["accept"] == pytest.approx(0.8 * 2000, abs=spread)
    assert counts["accept: wrong but kept"] == pytest.approx(0.3 * 2000, abs=spread)
    assert counts["reject: right but dropped"] + counts["reject: wrong"] == 4000 - sum(
        count for reason, count in counts.items() if reason.startswith("accept")
    )


def test_a_verifier_by_pattern_answer_and_number(context: Context, sample: Make, said: Said, tmp_path: Path) -> None:
    pattern = Verifier(check="regex", pattern=r"\bblue\b")
    assert said(pattern.judge([sample("a blue sea"), sample("blueish"), sample("")], context)) == [
        "accept", "reject: wrong", "abstain: nothing to check",
    ]  # fmt: skip
    answers = tmp_path / "answers.jsonl"
    rows = [{"prompt": "2 + 2 =", "answer": "4"}, {"prompt": "a thousand?", "answer": "1,000"}]
    answers.write_text("\n".join(map(json.dumps, rows)) + "\n\n", "utf-8")
    exact = Verifier(check="exact", answers=str(answers))
    asked = [sample(" 4", prompt="2 + 2 ="), sample("four", prompt=" 2 + 2 = "), sample("4", prompt="3 + 3 =")]
    assert said(exact.judge(asked, context)) == ["accept", "reject: wrong", "abstain: nothing to check"]
    numeric = Verifier(check="numeric", answers=str(answers))
    asked = [
        sample("one hundred and then 1000.0 !", prompt="a thousand?"),
        sample("1e3", prompt="a thousand?"),
        sample("999", prompt="a thousand?"),
        sample("many", prompt="a thousand?"),
    ]
    assert said(numeric.judge(asked, context)) == ["accept", "accept", "reject: wrong", "reject: wrong"]


def test_answers_that_are_none_are_told_by_line(context: Context, sample: Make, tmp_path: Path) -> None:
    broken = tmp_path / "answers.jsonl"
    broken.write_text('{"prompt": "a", "answer": "b"}\n{"prompt": "c"}\n')
    with pytest.raises(UserError, match=r"answers.jsonl:2: is not .*KeyError"):
        Verifier(check="exact", answers=str(broken)).judge([sample("a")], context)
    with pytest.raises(UserError, match="cannot be read"):
        Verifier(check="exact", answers=str(tmp_path / "nowhere")).judge([sample("a")], context)


def test_novelty_by_words(context: Context, sample: Make, documents: Draw, said: Said) -> None:
    [known] = context.human(1)
    new = "quite another matter altogether , that nobody has written about in this world of ours"
    samples = [sample(known), sample(new), sample(new, "again"), sample(" . ")]
    assert said(Novelty(human=50).judge(samples, context)) == [
        "reject: near human text", "accept", "reject: near another sample", "abstain: no words",
    ]  # fmt: skip
    assert said(Novelty(human=0).judge(samples[:1], context)) == ["accept"]


def test_novelty_asks_for_a_distance(context: Context, sample: Make, said: Said) -> None:
    words = [f"word{number}" for number in range(60)]
    near = [*words[:58], "changed", "twice"]
    samples = [sample(" ".join(words)), sample(" ".join(near))]
    exactly = 1 - 56 / (2 * 58 - 56)  # 3-grams: 58 each, of which 56 in common
    assert exactly == pytest.approx(0.067, abs=0.001)
    assert said(Novelty(human=0, distance=0.2).judge(samples, context))[1] == "reject: near another sample"
    assert said(Novelty(human=0, distance=0.0).judge(samples, context))[1] == "accept"


def test_surprise_keeps_the_most_surprising(context: Context, sample: Make, said: Said) -> None:
    samples = [sample(f"w{number}", logprob=[-float(number)]) for number in (3, 1, 4, 2)]
    samples.insert(2, sample("", logprob=[]))
    assert said(Surprise(keep=0.5).judge(samples, context)) == [
        "accept", "reject: unsurprising", "abstain: no tokens", "accept", "reject: unsurprising",
    ]  # fmt: skip
    assert len([one for one in said(Surprise(keep=0.01).judge(samples, context)) if one == "accept"]) == 1


def test_what_a_model_ruled_out_is_very_surprising_and_no_infinity(context: Context, sample: Make, said: Said) -> None:
    samples = [sample("a", logprob=[-np.inf]), sample("b", logprob=[-90.0])]
    assert said(Surprise(keep=0.5).judge(samples, context)) == ["accept", "reject: unsurprising"]


def test_a_surprisal_that_is_no_number_stops_the_run(context: Context, sample: Make) -> None:
    samples = [sample("a", logprob=[-1.0]), sample("b", logprob=[float("nan")])]
    with pytest.raises(RunError, match=r"the surprisal of sample b is nan. Nothing was committed"):
        Surprise().judge(samples, context)


def test_quality_tells_human_text_from_the_samples(context: Context, sample: Make, documents: Draw, said: Said) -> None:
    samples = [sample(text, f"human-{number}") for number, text in enumerate(documents(40))]
    samples += [sample(" ".join(["banana"] * (5 + number % 7)), f"junk-{number}") for number in range(40)]
    samples.append(sample("..."))
    verdicts = said(Quality(human=200).judge(samples, context))
    assert verdicts[-1] == "abstain: no words"
    assert set(verdicts[40:80]) == {"reject: low quality"}
    assert verdicts[:40].count("accept") > 20
    assert said(Quality(threshold=0.0).judge(samples[:1], context)) == ["accept"]


def test_rewards_are_held_to_thresholds_that_rise(
    sample: Make, documents: Draw, context: Context, later: Callable[[int], Context], said: Said
) -> None:
    gate = Reward(reward="world", thresholds=[0.0, 0.5, 0.75])
    right = documents(8)
    samples = [sample(one, str(number)) for number, one in enumerate(right)]
    samples += [sample(falsified(one, context), f"false-{number}") for number, one in enumerate(right)]
    kept = [said(gate.judge(samples, later(generation))).count("accept") for generation in range(4)]
    assert kept[0] == 16
    assert kept[1] == kept[2] == kept[3] == 8  # the right ones are tied at 1
    assert said(gate.judge([sample("nothing at all")], context)) == ["abstain: no reward"]
    absolute = Reward(reward="world", scale="value", thresholds=[1.0])
    assert said(absolute.judge([samples[0], samples[8]], context)) == ["accept", "reject: low reward"]


def test_a_world_entails_its_facts(context: Context, sample: Make, documents: Draw, said: Said) -> None:
    [right] = documents(1)
    samples = [sample(right), sample(falsified(right, context)), sample("nothing is said")]
    assert said(EntailmentGate().judge(samples, context)) == [
        "accept",
        "reject: not entailed",
        "abstain: nothing stated",
    ]


def test_every_sentence_needs_a_source(context: Context, sample: Make, said: Said) -> None:
    [known] = context.human(1)
    one, *_ = sentences_of(known)
    samples = [
        sample(known),
        sample(f"{one} The moon is made of cheese ."),
        sample("?!"),
        sample("Nowhere to be found ."),
    ]
    assert said(Attribution().judge(samples, context)) == [
        "accept", "reject: no source", "abstain: nothing stated", "reject: no source",
    ]  # fmt: skip


def test_passages_are_ranked_by_bm25() -> None:
    texts = ["the sea was calm", "the pilot slept", "the sea the sea was long and wide and deep and blue"]
    passages = PassageIndex(texts)
    mean = sum(len(text.split()) for text in texts) / 3

    def bm25(asked: str, text: str) -> float:
        own, found = text.split(), 0.0
        for word in asked.split():
            holders = sum(word in other.split() for other in texts)
            times = own.count(word)
            saturated = times * 2.5 / (times + 1.5 * (0.25 + 0.75 * len(own) / mean))
            found += math.log(1 + (3 - holders + 0.5) / (holders + 0.5)) * saturated
        return found

    for asked in ("pilot sea", "the calm sea", "was the sea blue", "slept"):
        scores = [bm25(asked, text) for text in texts]
        ranked = sorted((place for place in range(3) if scores[place] > 0), key=lambda place: -scores[place])
        assert passages.retrieve([asked], 3) == [ranked]
        assert passages.retrieve([asked], 1) == [ranked[:1]]
    assert passages.retrieve(["nothing", ""], 2) == [[], []]


def test_draws_in_proportion_with_a_most() -> None:
    rng = np.random.default_rng(0)
    weights = np.array([1.0, 3.0, 0.0, 6.0])
    drawn: Any = sum(draw_in_proportion(weights, 10, 100, rng) for _ in range(2000))
    assert drawn / drawn.sum() == pytest.approx([0.1, 0.3, 0.0, 0.6], abs=0.02)
    assert list(draw_in_proportion(weights, 100, 3, rng)) == [3, 3, 0, 3]
    assert list(draw_in_proportion(np.zeros(2), 5, 3, rng)) == [0, 0]


@pytest.mark.slow
def test_a_detector_draws_what_looks_human(context: Context, said: Said) -> None:
    from autophage.gates.contract import example_samples

    samples = example_samples(context)
    verdicts = Detector(exponent=20.0, size=2.0).judge(samples, context)
    weights = [one.weight for one in verdicts if said([one]) == ["accept"]]
    assert said(verdicts)[-1] == "abstain: no tokens"
    assert "reject: not drawn" in said(verdicts)
    assert sum(weights) == pytest.approx(len(weights))  # as many as they are, beside human rows
    assert 1.0 < max(weights) / min(weights) <= 3.0
