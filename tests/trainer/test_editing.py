"""Resampling of human text by a model with known distributions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from autophage.data.mix import TrainingRow
from autophage.recipe.schema import Recipe
from autophage.recipe.tables.mix import MixTable
from autophage.trainer.editing import draw, edit_human, edited
from autophage.trainer.head import LanguageHead

LOGITS_V = torch.tensor([4.0, 3.0, 2.0, 1.0, 0.0, -1.0])
"""Tokens 0 and 5 are special."""
SPECIAL = [0, 5]
P_V = torch.softmax(LOGITS_V.double(), 0).numpy()


class Config:
    vocab_size = len(LOGITS_V)

    def get_text_config(self) -> Config:
        return self


class Unigram:
    """A model with the same logits in every place."""

    device = torch.device("cpu")
    config = Config()
    logits: torch.Tensor

    def __call__(self, input_ids: torch.Tensor, **_: object) -> Unigram:
        found = Unigram()
        found.logits = LOGITS_V.expand(*input_ids.shape, -1)
        return found


HEAD = LanguageHead(Unigram(), None, None)


def test_what_is_not_expected_stays_and_so_do_special_tokens() -> None:
    sequence = [0, 1, 2, 3, 4, 0, 1, 5] * 200
    threshold = 0.999 * float(P_V[2])
    ((found, drawn),) = edited(HEAD, [sequence], [3], threshold, SPECIAL, [7])
    assert drawn == sum(token in (1, 2) for token in sequence[3:])
    assert found[:3] == sequence[:3]
    for before, after in zip(sequence[3:], found[3:], strict=True):
        if before in (1, 2):  # as likely as token 2, or likelier
            assert after in (1, 2, 3, 4)
        else:
            assert after == before
    assert found != sequence


def test_draws_are_of_the_models_distribution_without_special_tokens() -> None:
    count = 200_000
    ((found, _),) = edited(HEAD, [[1] * (count + 1)], [1], 0.01, SPECIAL, [3])
    shares = np.bincount(found[1:], minlength=6) / count
    expected = np.where(np.isin(np.arange(6), SPECIAL), 0.0, P_V)
    expected /= expected.sum()
    np.testing.assert_allclose(shares, expected, atol=5 * np.sqrt(0.25 / count))


def test_the_threshold_decides_which_tokens_are_drawn_and_not_what() -> None:
    sequence = [0, *[1, 2, 3, 4] * 50]
    low, high = (edited(HEAD, [sequence], [1], threshold, SPECIAL, [7])[0].token_ids for threshold in (0.01, 0.2))
    assert low != high
    assert all(after in (before, lower) for before, lower, after in zip(sequence, low, high, strict=True))
    others = edited(HEAD, [[0, 1], sequence, [0, 2, 2]], [1, 1, 1], 0.01, SPECIAL, [1, 7, 2])
    assert others[1].token_ids == low
    assert edited(HEAD, [sequence], [1], 0.01, SPECIAL, [8])[0].token_ids != low


@pytest.mark.parametrize(("uniform", "token"), [(0.0, 1), (1.0 - 2**-53, 4)])
def test_the_ends_of_the_distribution(uniform: float, token: int) -> None:
    found = draw(LOGITS_V.unsqueeze(0), torch.tensor(SPECIAL), torch.tensor([uniform], dtype=torch.float64))
    assert found.tolist() == [token]


def test_only_human_documents_are_edited() -> None:
    rows = [TrainingRow([0, *[1] * 40], 1, None, synthetic) for synthetic in (False, True, False)]
    told = Recipe(name="t", mix=MixTable(human_edit=0.1))
    (first, second, third), metrics = edit_human(rows, HEAD, SPECIAL, told, 1)
    assert second == rows[1]
    assert first.token_ids != rows[0].token_ids != third.token_ids != first.token_ids
    assert (first.context, first.synthetic) == (1, False)
    assert edit_human(rows, HEAD, SPECIAL, told, 1) == ([first, second, third], metrics)
    assert edit_human(rows, HEAD, SPECIAL, told, 2)[0][0] != first


def test_shares_are_of_the_human_tokens_that_could_be_edited() -> None:
    """Half of the tokens are rare and stay. Some resampled tokens are the same as before."""
    human = TrainingRow([0, *[1, 4] * 500], 1, None, False)
    told = Recipe(name="t", mix=MixTable(human_edit=0.999 * float(P_V[1])))
    (edit, _), metrics = edit_human([human, replace(human, synthetic=True)], HEAD, SPECIAL, told, 1)
    changed = sum(before != after for before, after in zip(human.token_ids, edit.token_ids, strict=True))
    assert 0 < changed < 500
    assert [(one.metric, one.value, one.n) for one in metrics] == [
        ("mix/redrawn", 0.5, 1000),
        ("mix/edited", changed / 1000, 1000),
    ]
    assert edit_human([replace(human, synthetic=True)], HEAD, SPECIAL, told, 1)[1] == []
