"""Max-min fair shares of a number of connections, under a virtual clock: the sum is never above it."""

from __future__ import annotations

from random import Random

from redpool.core.shares import (
    FLOOR,
    LONGEST_PAUSE,
    ON_ITS_OWN_AFTER,
    TERM,
    Answer,
    Outcome,
    Share,
    Table,
    Word,
    give_out,
    water_fill,
)
from support.budgets import Fleet, jain


def fleet_of(count: int, connections: int, seed: int, table: Table | None = None) -> Fleet:
    table = table or Table()
    fleet = Fleet(lambda word, number, now: table.hear(word, number, now), connections, seed)
    random = Random(seed)
    for _ in range(count):
        fleet.join(random.choice([0, 1, 3, 20, 50]))
        fleet.run(random.uniform(0, 0.1))
    return fleet


def shuffle_wants(fleet: Fleet, random: Random) -> None:
    for process in fleet.processes:
        process.wanted = random.choice([0, 1, 3, 20, 50])


def test_the_sum_is_never_above_the_budget() -> None:
    """Of 200 processes that join, die, leave, are cut off, and lose the server for a minute; words are lost, or late.

    At every instant it counts what each may hold open. The hungry have even shares, once all is quiet.
    """
    random = Random(5)
    fleet = fleet_of(200, 1000, seed=5)
    fleet.run(20)
    assert jain(fleet.hungry()) >= 0.95
    for _ in range(10):
        fleet.die(random.choice(fleet.processes))
        fleet.leave(random.choice(fleet.processes))
        fleet.run(random.uniform(0, 2))
        fleet.join(20)
        fleet.join(20)
    shuffle_wants(fleet, random)
    cut_off = random.sample(fleet.processes, 20)
    for process in cut_off:
        process.is_cut_off = True
    fleet.run(25)
    assert all(process.share.may_hold <= FLOOR for process in cut_off)
    for process in cut_off:
        process.is_cut_off = False
    shuffle_wants(fleet, random)
    fleet.run(10)
    before = [process.share.may_hold for process in fleet.processes]
    fleet.is_away = True
    fleet.run(2)
    kept = [process.share.may_hold for process in fleet.processes]
    fleet.run(58)
    assert [process.share.may_hold for process in fleet.processes] == kept
    assert sum(kept) > 0.8 * sum(before)
    fleet.is_away = False
    fleet.run(30)
    assert fleet.most <= fleet.connections
    assert jain(fleet.hungry()) >= 0.95
    assert sum(process.may_hold for process in fleet.processes) > 0.95 * fleet.connections - 2 * 30


def test_the_sum_holds_where_the_server_has_lost_the_table() -> None:
    """Those that are there say what they hold before any gets more."""
    table = Table()
    fleet = fleet_of(50, 300, 7, table)
    fleet.run(40)
    fleet.is_away = True
    fleet.run(20)
    table.__init__()  # type: ignore[misc]  # as if it had never been
    fleet.is_away = False
    fleet.run(60)
    assert fleet.most <= 300
    assert jain(fleet.hungry()) >= 0.95


def test_what_all_want_is_filled_like_water() -> None:
    """None gets more than it wants; the rest is shared by those that want more."""
    assert water_fill(10, {"a": 1, "b": 9, "c": 9}) == {"a": 1, "b": 4, "c": 5}
    assert water_fill(3, {"a": 2, "b": 2}) == {"a": 1, "b": 2}
    assert water_fill(100, {"a": 2, "b": 3}) == {"a": 2, "b": 3}
    assert water_fill(0, {"a": 2}) == {"a": 0}
    assert water_fill(5, {}) == {}


class Watched:
    """A process with a table of its own, whose time is turned by hand."""

    def __init__(self, table: Table, name: str) -> None:
        self.table, self.share = table, Share(name, Random(1), 0.0)

    def speak(self, now: float, held: int = 0, wanted: int = 100) -> int:
        word = self.share.say(held, wanted)
        self.share.answered(self.table.hear(word, 100, int(now * 1000)), now, now)
        return self.share.may_hold


def test_a_newcomer_begins_with_the_floor_or_what_is_free() -> None:
    """It grows with its next word, by what the others have given back."""
    table = Table()
    first, second = Watched(table, "first"), Watched(table, "second")
    assert first.speak(0) == FLOOR
    assert first.speak(6) == FLOOR  # the table may be new because the server has lost the one before
    assert first.speak(LONGEST_PAUSE) == 100
    assert second.speak(10) == 0
    assert first.speak(11, held=100) == 50
    assert second.speak(12) == 0  # the other has not said yet that it holds less
    assert first.speak(13, held=80) == 50
    assert second.speak(14) == 20
    first.speak(15, held=50)
    assert second.speak(16, held=20) == 50


def test_what_is_free_is_granted_in_the_very_answer() -> None:
    """Also to a newcomer. One that needs more while some are free says so at once, and without any it waits."""
    table = Table()
    first, second = Watched(table, "first"), Watched(table, "second")
    for now in (0, 7):
        first.speak(now, wanted=10)
    assert second.speak(8, wanted=30) == 30
    second.share.look(30, 30, 8.1)
    assert second.share.due_at() > 8.7
    second.share.look(30, 31, 8.1)
    assert second.share.due_at() == 8.25
    assert second.speak(8.25, held=30, wanted=99) == 90
    second.share.look(90, 120, 8.3)
    assert second.share.due_at() > 8.9


def test_the_first_that_is_heard_gives_a_newcomer_its_floor() -> None:
    """The others give nothing while that comes back. What it has given back is for none but the newcomer."""
    table = Table()
    fleet = [Watched(table, name) for name in "abcd"]
    for now in (0, 7, 8, 9):
        for each in fleet:
            each.speak(now, held=each.share.may_hold)
    assert [each.share.may_hold for each in fleet] == [25, 25, 25, 25]
    newcomer = Watched(table, "e")
    assert newcomer.speak(10, wanted=2) == 0
    assert newcomer.share.due_at() <= 10.0 + 0.25 * 1.2
    assert fleet[3].speak(10.1, held=25) == 23
    assert fleet[2].speak(10.2, held=25) == 25
    fleet[3].share.look(23, 100, 10.2)
    assert fleet[3].share.due_at() == 10.1 + 0.25
    assert fleet[3].speak(10.4, held=23) == 23
    assert fleet[2].speak(10.5, held=25) == 25
    assert newcomer.speak(10.6, wanted=2) == FLOOR


def test_newcomers_of_a_full_budget_begin_within_a_default_timeout() -> None:
    """Be the others many, few, or one, and though words are lost. The server hears some forty of them in a second."""
    for count in (1, 4, 100):
        fleet = Fleet(Table().hear, 400, seed=count)
        for _ in range(count):
            fleet.join(500)
        fleet.run(20)
        assert sum(process.may_hold for process in fleet.processes) == 400
        words = fleet.words
        fleet.run(10)
        assert fleet.words - words <= 45 * 10
        newcomers = []
        for _ in range(5):
            newcomers.append(fleet.join(20))
            fleet.run(6)
        waited = sorted(process.first_at - process.joined_at for process in newcomers)
        assert fleet.most <= 400
        assert waited[2] < 2.0
        assert waited[-1] < 5.0


def test_what_has_expired_goes_to_others_but_for_a_floor() -> None:
    """The clock of the table stands while none is heard: nothing expires meanwhile."""
    table = Table()
    first, second = Watched(table, "first"), Watched(table, "second")
    for now in (0, 7, 7):
        first.speak(now, held=first.share.may_hold)
        second.speak(now, held=second.share.may_hold)
    first.speak(8, held=50)
    assert (first.share.may_hold, second.speak(9)) == (50, 50)
    assert second.speak(1009, held=50) == 50  # all terms begin anew
    for soon in (5, 10, TERM - 0.1):
        assert second.speak(1009 + soon, held=50) == 50
    assert second.speak(1009 + TERM, held=50) == 100 - FLOOR
    assert first.speak(1026, held=FLOOR) == FLOOR


def test_a_word_that_comes_late_is_passed_over() -> None:
    """A process has said something else since then, and may hold more."""
    table = Table()
    late = Word("p", 1, 0, 100, known=True)
    table.hear(Word("p", 2, 0, 100, known=False), 100, 0)
    table.hear(Word("p", 3, 0, 100, known=True), 100, 7000)
    assert table.entries["p"].granted == 100
    assert table.hear(late, 100, 7001) == Answer(-1)
    assert table.entries["p"].granted == 100


def test_a_process_keeps_its_share_while_the_server_is_away() -> None:
    """Whatever the time. One that is cut off goes without before its term is over; one never heard has two."""
    share = Share("p", Random(1), 0.0)
    share.say(0, 50)
    share.unanswered(Outcome.AWAY, 1.0)
    assert (share.may_hold, share.due_at() <= 1.3) == (0, True)
    share.say(0, 50)
    share.unanswered(Outcome.AWAY, 2.0)
    assert share.may_hold == FLOOR
    share.answered(Answer(50), 10.0, 10.1)
    share.unanswered(Outcome.AWAY, 1000.0)
    assert share.may_hold == 50
    share.answered(Answer(50), 1010.0, 1010.1)
    share.unanswered(Outcome.CUT_OFF, 1016.0)
    assert share.may_hold == 50
    assert share.due_at() <= 1018.0
    share.unanswered(Outcome.CUT_OFF, 1010.0 + ON_ITS_OWN_AFTER)
    assert share.may_hold == FLOOR


class Part:
    """A pool of a process, that gives back what is idle at once."""

    def __init__(self, wanted: int, used: int = 0, busy: bool = True) -> None:
        self.wanted, self.used, self.granted, self.busy = wanted, used, 0, busy

    def may_hold(self) -> int:
        return max(self.used, self.granted)

    def wants(self) -> int:
        return self.wanted

    def is_busy(self) -> bool:
        return self.busy

    def is_over(self) -> bool:
        return False

    def take_share(self, granted: int) -> None:
        self.granted = granted


def test_the_pools_of_a_process_have_no_more_than_its_share_together() -> None:
    """What one is to give back goes to the other once it comes back."""
    busy, hungry = Part(9), Part(1)
    give_out(10, [busy, hungry], 0)
    assert (busy.granted, hungry.granted) == (9, 1)
    busy.used, hungry.wanted = 8, 9
    give_out(10, [busy, hungry], 0)
    assert (busy.granted, hungry.granted) == (5, 2)
    busy.used = 5
    give_out(10, [busy, hungry], 0)
    assert (busy.granted, hungry.granted) == (5, 5)


def test_the_pools_of_a_process_take_turns_where_there_is_less_than_one_for_each() -> None:
    """Those that are busy come first, and have one each."""
    pools = [Part(9), Part(2, busy=False), Part(9), Part(9)]
    had = [0, 0, 0, 0]
    for turn in range(6):
        give_out(2, pools, turn)
        had = [before + part.granted for before, part in zip(had, pools, strict=True)]
    assert had == [4, 0, 4, 4]
    assert not give_out(3, pools, 7)
    assert [part.granted for part in pools] == [1, 0, 1, 1]
    pools[0].used, pools[2].busy, pools[3].busy = 1, False, False
    assert give_out(0, pools, 8)
    assert not give_out(3, pools, 8)
    assert [part.granted for part in pools] == [3, 0, 0, 0]
    give_out(4, pools, 9)
    assert [part.granted for part in pools] == [1, 1, 1, 1]
