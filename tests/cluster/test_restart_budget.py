from __future__ import annotations

from autophage.cluster.restart_budget import RestartBudget


def test_a_process_that_dies_again_and_again_is_given_up() -> None:
    budget = RestartBudget(3)
    assert [budget.take() for _ in range(5)] == [True, True, True, False, False]
    assert budget.taken == 3


def test_a_commit_renews_it() -> None:
    budget = RestartBudget(1)
    for _ in range(10):
        assert budget.take()
        budget.renew()
    assert budget.take()
    assert not budget.take()


def test_none_may_be_granted() -> None:
    assert not RestartBudget(0).take()
