"""The retry budget: few late commands are sent again beside those that are answered."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from redpool.core.retry_budget import FIRST, MOST, SHARE, RetryBudget


def tokens(budget: RetryBudget, answered: int) -> int:
    """Take all there are."""
    taken = 0
    while budget.take(answered):
        taken += 1
    return taken


def test_there_are_ten_at_first_and_never_more_than_a_hundred() -> None:
    """However many commands were answered meanwhile."""
    budget = RetryBudget()
    assert tokens(budget, 0) == 10
    assert tokens(budget, 1_000_000) == MOST == 250
    assert tokens(budget, 1_000_000) == 0


def test_ten_answers_make_a_token() -> None:
    """Nine don't."""
    budget = RetryBudget()
    tokens(budget, 0)
    assert tokens(budget, 9) == 0
    assert tokens(budget, 11) == 1


@given(st.lists(st.integers(0, 40), max_size=60))
def test_at_most_a_tenth_of_the_answers_beside_the_first_ten(answers: list[int]) -> None:
    """Whatever comes when; and what was refused is counted."""
    budget, answered, taken = RetryBudget(), 0, 0
    for more in answers:
        answered += more
        taken += budget.take(answered)
    assert taken <= FIRST + SHARE * answered
    assert budget.refused == len(answers) - taken


def test_a_count_that_falls_adds_nothing() -> None:
    """The answers of a connection that is just released may be missed once. That it rises again adds nothing either."""
    budget = RetryBudget()
    tokens(budget, 100)
    assert tokens(budget, 50) == 0
    assert tokens(budget, 100) == 0
