"""The budget: so many bytes a second over all that move them, nothing saved up, nothing owed after a pause."""

import random

import pytest

from roost.checkpoints.budget import Budget


def test_the_first_goes_at_once_and_each_next_waits_for_the_bytes_before_it() -> None:
    budget = Budget(100)
    assert [budget.wait_s(50, 10.0) for _ in range(3)] == [0.0, 0.5, 1.0]


def test_a_pause_is_neither_saved_up_nor_owed() -> None:
    budget = Budget(100)
    budget.wait_s(100, 0.0)
    assert budget.wait_s(100, 1000.0) == 0.0
    assert budget.wait_s(100, 1000.0) == 1.0


def test_what_is_given_back_is_not_paid_for() -> None:
    budget = Budget(100)
    assert [budget.wait_s(100, 0.0) for _ in range(3)] == [0.0, 1.0, 2.0]
    budget.give_back(100)
    budget.give_back(100)
    assert budget.wait_s(100, 0.5) == 0.5


def test_without_a_rate_nobody_waits() -> None:
    budget = Budget(0)
    assert budget.wait_s(1 << 40, 0.0) == 0.0
    budget.give_back(1 << 40)
    assert budget.wait_s(1 << 40, 0.0) == 0.0


@pytest.mark.parametrize("seed", range(5))
def test_whatever_comes_when_the_rate_holds(seed: int) -> None:
    chance = random.Random(seed)
    budget, now, moved, last = Budget(1000), 0.0, 0, 0
    for _ in range(200):
        now += chance.choice((0.0, 0.0, 0.01, 1.0))
        last = chance.randrange(1, 500)
        begins = now + budget.wait_s(last, now)
        moved += last
        assert moved - last <= 1000 * begins + 1e-6, "all before it is paid for when it begins"
