"""Further shared connections come and go as the rule says, which `tests/unit/wire/test_spread.py` is about."""

from __future__ import annotations

from typing import Any

import pytest

from redpool.wire.routing import Spread
from support.faces import Doing, Face, OwnThreads, eventually


class Ordered(Spread):
    """As many as a test says."""

    order = 1

    def look(self, now: float, answered: int, under_way: int, there: int) -> None:
        if self.kept != self.order:
            self.kept = self.wanted = self.taking = self.order
            self.decisions.append((now, f"{self.order} from now on"))


@pytest.fixture
def ordered(monkeypatch: pytest.MonkeyPatch, spread: None) -> type[Ordered]:
    """What says how many there are to be."""
    monkeypatch.setattr("redpool.redispy.routing.Spread", Ordered)
    monkeypatch.setattr(Ordered, "order", 1)
    return Ordered


def test_they_come_and_go(shell: Face, at: dict[str, Any], ordered: type[Ordered]) -> None:
    """No caller notices, and the dump tells."""
    pool = shell.pool(**at, shared_connections=3)
    client = shell.client(pool)
    stop, turns = [False], [0] * 4

    def work(number: int) -> None:
        while not stop[0]:
            turns[number] += 1
            token = f"{number}-{turns[number]}".encode()
            assert client.echo(token) == token

    workers = [Doing(lambda number=number: work(number)) for number in range(4)]  # type: ignore[misc]
    for order in (1, 3, 2, 3, 1):
        ordered.order = order
        assert eventually(lambda: pool.stats().in_use == order)  # noqa: B023
        before = list(turns)
        assert eventually(lambda: all(now > then for now, then in zip(turns, before, strict=True)))  # noqa: B023
    stop[0] = True
    for doing in workers:
        doing.result()
    decisions = pool.dump().decisions
    assert [each.what for each in decisions] == [f"{order} from now on" for order in (3, 2, 3, 1)]
    assert decisions[0].age > decisions[-1].age >= 0.0
    assert decisions[-1].what in str(pool.dump())


def test_a_lone_one_is_taken_at_once(
    multiplexed_threads: OwnThreads, at: dict[str, Any], ordered: type[Ordered]
) -> None:
    """Nothing is chosen where there is just one to choose, also after there were several."""
    pool = multiplexed_threads.pool(**at, shared_connections=2)
    client = multiplexed_threads.client(pool)
    client.ping()
    multiplexed = pool._engine.multiplexed
    only = multiplexed.only
    assert only is not None
    ordered.order = 2
    assert eventually(lambda: len(multiplexed._shared) == 2 and multiplexed.only is None)
    ordered.order = 1
    assert eventually(lambda: len(multiplexed._shared) == 1 and multiplexed.only is only)
    pool.drain()
    client.ping()
    assert multiplexed.only not in (None, only)


def test_one_on_trial_rests_every_other_while(
    multiplexed_threads: OwnThreads, at: dict[str, Any], ordered: type[Ordered]
) -> None:
    """It is there, and requests take it only while they are to; it takes the place of one that is lost."""
    pool = multiplexed_threads.pool(**at, shared_connections=2)
    client = multiplexed_threads.client(pool)
    client.ping()
    ordered.order = 2
    multiplexed = pool._engine.multiplexed
    assert eventually(lambda: len(multiplexed._shared) == 2)
    multiplexed.spread.taking = 1
    first, second = multiplexed._shared
    assert eventually(lambda: multiplexed.only is first)
    multiplexed.retire(first)
    assert multiplexed.only is second
    client.ping()
    assert eventually(lambda: len(multiplexed._shared) == 2)
