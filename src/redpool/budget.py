"""One number of connections for many processes: `redpool.Budget`. What is shared out, and how: `core.shares`.

A thread of its own speaks with the server that keeps the table, over a connection of its own, for pools of threads and
of event loops alike. It begins when a pool first needs a connection, so that a process that only forks has none.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import secrets
import socket
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Sequence
from random import Random
from typing import Any

import redis.connection
from redis.backoff import NoBackoff
from redis.exceptions import MovedError, NoScriptError, ResponseError
from redis.retry import Retry

from .background import BackgroundThread
from .core.config import whole_number
from .core.shares import TABLE_SCRIPT, Answer, Budgeted, Member, Outcome, Share, Word, give_out
from .core.stats import BudgetShare, Decision
from .redispy.factory import library_option
from .redispy.naming import namer, program_name
from .redispy.options import check_class, check_names, check_sync, connect_budget, readable, server_is_full
from .threads import NoThread

logger = logging.getLogger("redpool")

_monotonic = time.monotonic

PATIENCE = 1.0
"""Seconds within which the server is to be connected, and to answer."""

MOST_PATIENCE = 4.0
"""Seconds for both together at most: a process that is cut off must give its word up before its term is over."""

GIVEN_OUT_EVERY = 1.0
"""Seconds from one look at what a process's pools want to the next."""

LOOKS_AGAIN_AFTER = 0.1
"""The same where a caller waits, or a pool is to give something back."""

TURN = 0.5
"""Seconds for which the same pools have a connection, where there is less than one for each."""

KEPT = 20


class Budget(Budgeted):
    """A number of connections that the pools of many processes share.

        budget = redpool.Budget("redis://localhost:6379", "checkout", connections=200)
        pool = redpool.ConnectionPool(host="localhost", port=6379, budget=budget)

    All processes that name the same budget have no more than `connections` together: each its max-min fair share by
    what it can use, and two at least, as far as there are so many. `url` is a server that all of them reach, which
    keeps who has how many, in one hash; `options` are for the connection to it, as redis-py's connections take them.
    Where it can't be reached, each process keeps the share that it has. `name` is what the processes call the budget.

    Several pools of a process may have the same budget. The `max_connections` of each, or its `limits`, still hold.

    Raises `TypeError` or `ValueError` for a wrong option.
    """

    def __init__(self, url: str, name: str, *, connections: int, **options: Any) -> None:
        if not isinstance(url, str):
            raise TypeError(f"url must be a string such as 'redis://localhost:6379', not {type(url).__qualname__}")
        if not isinstance(name, str):
            raise TypeError(f"name must be a string, not {name!r}")
        if not name or "{" in name or "}" in name:
            raise ValueError(f"name={name!r}: a budget has a name, without braces")
        self.name = name
        self.connections = whole_number("connections", connections, at_least=1)
        self._arguments = {**redis.connection.parse_url(readable(url)), **options}
        self._agent = _Agent(self, self._arguments)
        self._agents: dict[int, _Agent] = {}  # of this process, where it is a child, and of those that it comes from

    @property
    def share(self) -> int:
        """How many of the connections the pools of this process may have; 0 until one of them needs one."""
        return self._here().share.may_hold

    def decisions(self) -> Sequence[Decision]:
        """Return the latest changes of this process's share; pools show them in `dump()`."""
        now = _monotonic()
        return [Decision(now - at, what) for at, what in self._here().decided.copy()]

    def describe(self, granted: int, age: float) -> BudgetShare:
        """Return how things stand, for a part of a pool that has had its part of the share for so many seconds."""
        share = self._here().share
        heard_at = share.heard_at()
        heard = None if heard_at is None else _monotonic() - heard_at
        return BudgetShare(self.name, self.connections, share.may_hold, granted, age, heard)

    def close(self, timeout: float = 0.0) -> None:
        """Give the share back: pools with this budget close what is idle now, and what is in use when it comes back.

        They have no connections from then on. It waits for `timeout` seconds at most until all is given back. A process
        needs it at its end only where that is `os._exit`. Raises `ValueError` for a timeout that is no span of time.
        """
        if not 0 <= timeout <= threading.TIMEOUT_MAX:
            raise ValueError(f"timeout must be a number of seconds, not {timeout!r}")
        self._here().close(timeout)

    def __enter__(self) -> Budget:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<redpool.Budget {self.name!r}: {self.share} of {self.connections} connections>"

    def join(self, member: Member, at_once: bool) -> None:
        """Have a part of a pool get a part of this process's share; `at_once`: before a caller needs it."""
        self._here().join(member, at_once)

    def caller_waits(self) -> None:
        """Note that a caller waits: the shares are given out anew soon. It may be called anywhere."""
        self._here().look_soon()

    def _here(self) -> _Agent:
        """Return what speaks for this process. A child has no share yet: all that there is is its parent's."""
        agent = self._agent
        if not agent.is_of_this_process():
            # Where two threads come at once, both have the same one.
            agent = self._agent = self._agents.setdefault(os.getpid(), _Agent(self, self._arguments))
        return agent


class _Agent(BackgroundThread):
    """What speaks for one process: its thread alone changes the share and the connection."""

    def __init__(self, budget: Budget, arguments: dict[str, Any]) -> None:
        super().__init__(f"redpool budget {budget.name}")
        self.name, self.connections = budget.name, budget.connections
        self.share = _new_share()
        self.decided: deque[tuple[float, str]] = deque(maxlen=KEPT)
        self._closing = False  # written by any thread
        self._budget = weakref.ref(budget, self._alarm.ring)
        self._table = _RemoteTable(budget.name, arguments)
        # Any thread appends; the agent's own takes out those that are over.
        self._members: list[weakref.ref[Any]] = []
        self._given_out_at = -PATIENCE
        self._looks_soon = False  # any thread turns it on, as a caller waits; the agent's own turns it off
        self._unanswered = False
        self._is_to_leave = False  # it says goodbye where the process ends without `atexit`
        _agents.add(self)

    # -- called by any thread ----------------------------------------------------------------------------------------

    def join(self, member: Member, at_once: bool) -> None:
        """Have a part of a pool get a part of the share."""
        self._members.append(weakref.ref(member))
        if self._goes_on():
            self._wake()
        elif at_once:
            self.look_soon()

    def look_soon(self) -> None:
        """Have the thread look, which begins where there is none."""
        if self._goes_on():
            if not self._looks_soon:
                self._looks_soon = True
                self._wake()
        elif not self._closing:
            if not self._is_to_leave:
                self._is_to_leave = True
                _leave_with_multiprocessing()
            with contextlib.suppress(NoThread):  # as when the interpreter is going down
                self._begin()

    def close(self, timeout: float) -> None:
        """Have the thread give the share back, and wait so many seconds at most until it has."""
        self._closing = True
        self._wake()
        thread = self._thread
        if timeout and thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    # -- its thread --------------------------------------------------------------------------------------------------

    def _turn(self) -> float | None:
        early = self._given_out_at + LOOKS_AGAIN_AFTER - _monotonic()
        if self._looks_soon and early > 0 and not self._closing:
            return early
        self._looks_soon = False
        members = self._current()
        ends = self._closing or not members
        leaves = ends and not _held(members)
        if self.share.known if leaves else _monotonic() >= self.share.due_at():
            self._speak(members, ends, leaves)
        if leaves:
            self._table.close()
            self.share = _new_share()
            return None
        self._given_out_at = now = _monotonic()
        unsettled = give_out(0 if ends else self.share.may_hold, members, int(now / TURN))
        self.share.look(_held(members), 0 if ends else _wanted(members), now)
        if ends and not _held(members):
            return 0.0  # say goodbye
        return max(0.0, min(self.share.due_at() - now, LOOKS_AGAIN_AFTER if unsettled else GIVEN_OUT_EVERY))

    def _over(self) -> None:
        """Begin again for a pool that has joined meanwhile."""
        if self._budget() is not None and self._current():
            self.look_soon()

    def _speak(self, members: Sequence[Member], ends: bool, leaves: bool) -> None:
        share, held = self.share, _held(members)
        before, knew = share.may_hold, share.known
        if ends:
            share.may_hold = 0
        wanted = 0 if ends else _wanted(members)
        word, sent_at = share.say(held, wanted, leaves), _monotonic()
        try:
            answer = self._table.hear(word, self.connections)
        except Exception as error:  # whatever it is, the pools go on
            share.unanswered(self._table.outcome(error), _monotonic())
            if not leaves:
                self._failed(error)
        else:
            share.answered(answer, sent_at, _monotonic())
            self._answered()
        if share.may_hold != before or share.known != knew:
            self._decide(f"the budget {self.name!r} allows this process {share.may_hold} of {self.connections} "
                         f"connections, in place of {before}: it may hold {held}, and could use {wanted}")  # fmt: skip

    def _current(self) -> list[Any]:
        """Return the parts of pools that may hold connections."""
        there = []
        for reference in self._members.copy():
            member = reference()
            if member is None or member.is_over():
                self._members.remove(reference)
            else:
                there.append(member)
        return there

    def _decide(self, what: str) -> None:
        self.decided.append((_monotonic(), what))
        logger.debug("%s", what)

    def _failed(self, error: BaseException) -> None:
        if not self._unanswered:
            logger.warning("budget %s: no answer, so the share stays as it is: %s", self.name, error)
        self._unanswered = True

    def _answered(self) -> None:
        if self._unanswered:
            logger.info("budget %s: it answers again", self.name)
        self._unanswered = False

    def leave(self) -> None:
        """Say goodbye as the process ends, over a connection of its own; the thread may be at its own."""
        if not (self.is_of_this_process() and self._goes_on() and self.share.known) or self._unanswered:
            return
        self._closing = True
        table = self._table.another()
        with contextlib.suppress(Exception):
            table.hear(self.share.say(_held(self._current()), 0, leaves=True), self.connections)
        table.close()


_agents: weakref.WeakSet[_Agent] = weakref.WeakSet()


@atexit.register
def _leave_all() -> None:
    for agent in list(_agents):
        _agents.discard(agent)
        agent.leave()


def _leave_with_multiprocessing() -> None:
    """Have a child that `multiprocessing` has forked say goodbye: it ends with `os._exit`, so `atexit` does nothing.

    That child forgets what was registered before its work began; so it registers once a caller needs a connection.
    """
    process = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None:
        from multiprocessing import util  # noqa: PLC0415  few programs need it, and it is there by now

        util.Finalize(None, _leave_all, exitpriority=-100)  # after the work's own


def _new_share() -> Share:
    return Share(secrets.token_hex(8), Random(), _monotonic())


def _held(members: Sequence[Member]) -> int:
    return sum(member.may_hold() for member in members)


def _wanted(members: Sequence[Member]) -> int:
    return sum(member.wants() for member in members)


class _RemoteTable:
    """The table, as a server keeps it, and the connection to that."""

    def __init__(self, budget: str, arguments: dict[str, Any]) -> None:
        defaults = {"socket_timeout": PATIENCE, "socket_connect_timeout": PATIENCE}
        self._budget, self._arguments = budget, {**defaults, **arguments, "retry": Retry(NoBackoff(), 0)}
        self._class = self._arguments.pop("connection_class", redis.connection.Connection)
        self._key = f"redpool:budget:{{{budget}}}"
        self._name = namer(program_name(), f"budget:{budget}")
        check_class(self._class, asynchronous=False)
        check_names(self._class, self._arguments, asynchronous=False)
        check_sync(self._arguments)
        patience = connect_budget(self._arguments)
        said = {name: self._arguments[name] for name in defaults}
        for name, seconds in said.items():
            if seconds is not None and not seconds > 0:
                raise ValueError(f"{name} must be above 0 seconds, not {seconds!r}")
        if not patience <= MOST_PATIENCE:
            given = ", ".join(f"{name}={seconds!r}" for name, seconds in said.items())
            raise ValueError(f"{given}: together they must be at most {MOST_PATIENCE:g} seconds")
        # Where the last connect led comes first, and the next one leads to the next: the URL's own address, and that of
        # the node of a cluster which had the key. Where that one is gone for good, the other says which has it now.
        self._ways: deque[dict[str, Any]] = deque([{}])
        self._make()  # it may reject others
        self._connection: Any = None
        self._digest = ""

    def another(self) -> _RemoteTable:
        """Return one with a connection of its own."""
        other = _RemoteTable(self._budget, {**self._arguments, "connection_class": self._class})
        other._ways = self._ways.copy()
        other._ways.rotate(1)  # so that its first connect leads to where this one's last one has led
        return other

    def hear(self, word: Word, connections: int) -> Answer:
        """Tell it a word, and return the answer: see `Table.hear`."""
        said = (word.process, word.number, word.held, word.wanted, int(word.known), int(word.leaves), connections)
        try:
            return self._run_where_the_key_is(said)
        except BaseException:
            self.close()
            raise

    def _run_where_the_key_is(self, said: tuple[object, ...]) -> Answer:
        try:
            return self._run_script(said)
        except MovedError as moved:
            self.close()
            self._ways = deque([{}, {"host": moved.host, "port": moved.port}])
            return self._run_script(said)

    def _run_script(self, said: tuple[object, ...]) -> Answer:
        arguments = (1, self._key, "", *said)
        if self._digest:
            with contextlib.suppress(NoScriptError):
                return Answer(*self._call("EVALSHA", self._digest, *arguments))
        self._digest = _text(self._call("SCRIPT", "LOAD", TABLE_SCRIPT))
        return Answer(*self._call("EVALSHA", self._digest, *arguments))

    def _call(self, *command: object) -> Any:
        if self._connection is None:
            self._ways.rotate(-1)
            connection = self._make()
            connection.connect()
            self._connection = connection
            if self._arguments.get("client_name") is None:
                with contextlib.suppress(ResponseError):  # the server may refuse the name, which does no harm
                    self._call("CLIENT", "SETNAME", self._name())
        self._connection.send_command(*command)
        return self._connection.read_response()

    def _make(self) -> Any:
        library = library_option(self._class, self._arguments)
        return self._class(**{**self._arguments, **library, **self._ways[0]})

    def close(self) -> None:
        """Close the connection; the next word has another one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()

    def outcome(self, error: BaseException) -> Outcome:
        """Return whether the server is away for all, or maybe for this process alone."""
        if server_is_full(error):
            return Outcome.CUT_OFF  # those that it has let in are served
        if isinstance(error, ResponseError) or "path" in self._arguments:
            return Outcome.AWAY
        led_to = self._arguments | self._ways[0]
        address = led_to.get("host", "localhost"), led_to.get("port", 6379)
        try:
            socket.create_connection(address, PATIENCE).close()
        except ConnectionRefusedError:
            return Outcome.AWAY
        except OSError:
            return Outcome.CUT_OFF
        return Outcome.AWAY


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode()
