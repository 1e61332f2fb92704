"""Whatever users do with a pool, in any order: the stats add up, and no slot is ever lost."""

from __future__ import annotations

import contextlib
import gc
import logging
from typing import Any, ClassVar

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from redpool.testing import Script

from .users import Tasks, Threads, Users

_which = st.integers(0, 9)


class PoolMachine(RuleBasedStateMachine):
    """A pool over scripted connections, those that have one, and waiters for one."""

    users_class: ClassVar[type[Users]]

    @initialize(size=st.integers(1, 3))
    def create(self, size: int) -> None:
        self.script = Script()
        self.users = self.users_class(self.script, size)
        self.size = size
        self.held: list[Any] = []
        self.whole: list[bool] = []  # of each, whether nothing has cut it
        self.waiting: list[Any] = []
        self.returned: list[Any] = []  # the last one

    # -- callers

    @precondition(lambda self: len(self.held) < self.size)
    @rule()
    def checkout(self) -> None:
        self.take(self.users.checkout())

    @precondition(lambda self: len(self.held) >= self.size and len(self.waiting) < 3)
    @rule()
    def wait(self) -> None:
        self.waiting.append(self.users.wait())
        self.settle()

    @precondition(lambda self: self.waiting and self.users.can_cancel)
    @rule(which=_which)
    def cancel(self, which: int) -> None:
        self.users.cancel(self.waiting.pop(which % len(self.waiting)))
        self.settle()

    @precondition(lambda self: self.held)
    @rule(which=_which)
    def ask(self, which: int) -> None:
        connection, whole = self.held[which % len(self.held)], self.whole[which % len(self.held)]
        with contextlib.nullcontext() if whole else contextlib.suppress(redis.ConnectionError):
            assert self.users.ask(connection, str(which)) == str(which).encode()

    @precondition(lambda self: self.held)
    @rule(which=_which, unread=st.booleans())
    def release(self, which: int, unread: bool) -> None:
        connection = self.taken_out(which)
        if unread:
            with contextlib.suppress(redis.ConnectionError):
                self.users.send(connection)
        self.users.release(connection)
        self.returned = [connection]
        del connection
        self.settle()

    @precondition(lambda self: self.returned and not any(each is self.returned[0] for each in self.held))
    @rule()
    def release_again(self) -> None:
        self.users.release_twice(self.returned[0])
        self.settle()

    @precondition(lambda self: self.held)
    @rule(which=_which)
    def drop(self, which: int) -> None:
        self.returned.clear()
        self.taken_out(which)
        gc.collect()
        self.settle()

    # -- the owner

    @rule()
    def drain(self) -> None:
        self.users.pool.drain()
        self.settle()

    @rule(size=st.integers(1, 3))
    def resize(self, size: int) -> None:
        self.users.pool.resize(size)
        self.size = size
        self.settle()

    @rule()
    def disconnect(self) -> None:
        self.users.disconnect()
        self.whole = [False] * len(self.held)
        self.settle()

    # -- what is true

    def take(self, connection: Any) -> None:
        assert not any(connection is each for each in self.held), "another caller has it"
        self.held.append(connection)
        self.whole.append(True)

    def taken_out(self, which: int) -> Any:
        del self.whole[which % len(self.held)]
        return self.held.pop(which % len(self.held))

    def settle(self) -> None:
        """Who waits gets what there is, in turn; then the numbers are what they must be."""
        while self.waiting and len(self.held) < self.size:
            self.take(self.users.received(self.waiting.pop(0)))
        assert self.users.eventually(self.adds_up), (len(self.held), len(self.waiting), self.size, self.users.pool)

    def adds_up(self) -> bool:
        stats = self.users.pool.stats()
        assert stats.open == stats.idle + stats.in_use
        assert stats.acquired == stats.released + stats.in_use
        within = stats.open <= max(self.size, len(self.held))
        return within and (stats.in_use, stats.waiting) == (len(self.held), len(self.waiting))

    def teardown(self) -> None:
        if not hasattr(self, "users"):
            return
        try:
            while self.waiting:
                self.release(0, False)
            while self.held:
                self.users.release(self.taken_out(0))
            assert self.users.eventually(lambda: self.users.pool.stats().in_use == 0)
            taken = [self.users.checkout() for _ in range(self.size)]
            assert [self.users.ask(each, "whole") for each in taken] == [b"whole"] * self.size
            for connection in taken:
                self.users.release(connection)
        finally:
            self.users.close()
            self.script.close()


@pytest.mark.parametrize("users_class", [Threads, Tasks], ids=["threads", "asyncio"])
@pytest.mark.filterwarnings("ignore:unclosed :ResourceWarning")  # redis-py's word about what is dropped
@pytest.mark.filterwarnings("ignore:.*was released twice:RuntimeWarning")
def test_no_order_of_things_loses_a_place(users_class: type[Users], caplog: pytest.LogCaptureFixture) -> None:
    """Checkouts, releases, double ones, drops, cancelled waits, drains, resizes and cuts, as they come."""
    caplog.set_level(logging.CRITICAL, logger="redpool")
    machine = type("Machine", (PoolMachine,), {"users_class": users_class})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=40,
            stateful_step_count=20,
            deadline=None,
            derandomize=True,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
