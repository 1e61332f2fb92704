"""Which commands are slow, by looks at the heads of in-flight queues: none is blamed for what it waits behind."""

from __future__ import annotations

from typing import Any

import pytest

from redpool.wire.pipeline import Request
from redpool.wire.routing import LOOKS, LOOKS_ON, PROBE, SLOW_FOR, Apart, SlowCommands, Why

AFTER = 0.1


def request(*command: Any) -> Request:
    return Request(command, b"")


class Looks:
    """Looks at one connection, in time, or as late as is said."""

    def __init__(self) -> None:
        self.apart = Apart()
        self.slow = SlowCommands(AFTER, self.apart)
        self.now = 100.0
        self.answered = 0
        self.unread = False

    def at(self, head: Request | None, late: float = 0.0) -> None:
        heads: dict[object, Request] = {} if head is None else {"connection": head}
        within = self.slow.look(heads, self.answered, self.now + late, lambda _: self.unread)
        self.now += late + min(within, 1.0)

    def slowly(self, *command: Any) -> None:
        """It is at the head at all looks until it is slow."""
        head = request(*command)
        for _ in range(LOOKS + 1):
            self.at(head)

    def apart_from_others(self, *command: Any) -> bool:
        return self.apart.knows(request(*command))


@pytest.fixture
def looks() -> Looks:
    return Looks()


def test_what_is_slow_twice_goes_apart(looks: Looks) -> None:
    """By name and first argument; what is for another key doesn't."""
    looks.slowly("SORT", "k", "ALPHA")
    assert not looks.apart_from_others("SORT", "k")
    looks.at(None)
    looks.slowly("SORT", "k", "DESC")
    assert looks.apart_from_others("SORT", "k")
    assert not looks.apart_from_others("SORT", "l")
    assert not looks.apart.stands_apart(request("SORT", "k"))
    [(_, what)] = looks.slow.decisions
    assert what == "one SORT goes over the bulk connection: slower than 0.1 s, 2 of the 2 times that it was seen"


def test_one_that_stays_for_long_is_slow_once(looks: Looks) -> None:
    """However many looks find it."""
    head = request("SORT", "k")
    for _ in range(20):
        looks.at(head)
    assert not looks.apart.known


def test_what_waits_behind_a_slow_one_is_not_blamed(looks: Looks) -> None:
    """It comes to the head later, and is gone at once."""
    for place in range(50):
        looks.slowly("SORT", f"key {place % 2}")
        looks.at(request("GET", "popular"))
    assert looks.apart_from_others("SORT", "key 0")
    assert not looks.apart_from_others("GET", "popular")


def test_one_name_with_many_first_arguments(looks: Looks) -> None:
    """Three of them that are slow stand for all."""
    for place in range(3):
        looks.slowly("KEYS", f"pattern {place}")
    assert looks.apart_from_others("keys", "another pattern")
    assert looks.slow.decisions[-1][1].startswith("all of KEYS goes over the bulk connection")


def test_a_server_that_stands_still_now_and_then_makes_nothing_slow(looks: Looks) -> None:
    """What is at the head then is mostly gone by the next look."""
    for _ in range(5):
        for place in range(4):
            looks.at(request("GET", "popular"))
            looks.at(request("GET", f"k{place}"))
        looks.slowly("GET", "popular")
    assert looks.apart.known == {}


def test_a_look_that_is_late_says_nothing(looks: Looks) -> None:
    """This process stood still. Nor does one where the reply is there, not read yet; or a pipeline, or a probe."""
    for _ in range(4):
        head = request("SORT", "k")
        looks.at(head)
        looks.at(head, late=2 * AFTER)
        looks.at(None)
    looks.unread = True
    for _ in range(4):
        looks.slowly("SORT", "another")
    looks.unread = False
    for head in (Request([("SORT", "k"), ("SORT", "k")], b"", 2), Request(PROBE, b"")):
        for _ in range(4):
            looks.at(head)
            looks.at(head)
            looks.at(None)
    assert looks.apart.known == {}


def test_where_others_wait_all_the_same_it_shares_again(looks: Looks) -> None:
    """A server that works for one client at a time has them wait on whatever connection. They are not blamed."""
    for _ in range(2):
        looks.slowly("SORT", "k")
    for _ in range(3):
        heads = {"shared": request("GET", "popular"), "bulk": request("SORT", "k")}
        for _ in range(LOOKS + 1):
            assert looks.apart_from_others("SORT", "k")
            looks.now += looks.slow.look(heads, 0, looks.now, lambda _: False)
    assert looks.apart.known == {}
    assert looks.slow.decisions[-1][1] == "SORT shares again: other connections wait for it as well"
    looks.slowly("SORT", "k")
    looks.slowly("SORT", "k")
    assert looks.apart.known == {}
    looks.now += SLOW_FOR
    looks.slowly("SORT", "k")
    looks.slowly("SORT", "k")
    assert looks.apart_from_others("SORT", "k")


def test_it_is_forgotten_with_time(looks: Looks) -> None:
    """Unless it is slow again. A reply that is small doesn't clear it."""
    looks.slowly("SORT", "k")
    looks.slowly("SORT", "k")
    looks.now += SLOW_FOR - 10
    looks.slowly("SORT", "k")
    looks.now += SLOW_FOR - 10
    looks.at(None)
    looks.apart.note(request("SORT", "k"))
    assert looks.apart_from_others("SORT", "k")
    looks.now += 20
    looks.at(None)
    assert not looks.apart_from_others("SORT", "k")
    assert looks.slow.decisions[-1][1] == "SORT shares again: it was not slow of late"


def test_what_is_remembered_is_bounded(looks: Looks) -> None:
    """In number, and in length: a script stands for all of its name. A view shows no argument."""
    for place in range(2000):
        looks.at(request("GET", f"key {place}"))
    assert len(looks.slow._seen) <= 256
    for _ in range(2):
        looks.slowly("EVAL", "return " + "x" * 1000)
    assert looks.apart.known == {("EVAL",): Why.SLOW}
    assert looks.slow.decisions[-1][1].startswith("all of EVAL goes over the bulk connection")


def test_a_slow_one_among_quick_ones_is_seen_each_time(looks: Looks) -> None:
    """No look finds the quick ones under way, but they are answered in between."""
    for _ in range(2):
        for _ in range(20):
            looks.answered += 10
            looks.at(None)
        began = looks.now
        head = request("SORT", "k")
        while looks.now < began + 1.3 * AFTER:
            looks.at(head)
    assert looks.apart_from_others("SORT", "k")


def test_it_looks_seldom_once_nothing_was_answered_for_a_while(looks: Looks) -> None:
    """And several times in `slow_after` where something was, but not in a loop."""
    for now in (1.0, 1.0 + LOOKS_ON / 2):
        assert looks.slow.look({}, 1, now, bool) == pytest.approx(AFTER / LOOKS)
    assert looks.slow.look({}, 1, 1.0 + LOOKS_ON, bool) == float("inf")
    assert looks.slow.look({"connection": request("GET", "k")}, 1, 9.0, bool) == pytest.approx(AFTER / LOOKS)
    assert SlowCommands(1e-6, Apart()).look({}, 1, 1.0, bool) == pytest.approx(0.01)
