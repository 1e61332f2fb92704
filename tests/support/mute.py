"""A server that keeps a reply to itself, and what is said of a command whose reply was lost."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import redis

from redpool import ReplyLate, ReplyLost
from redpool.testing import FaultProxy, Raw, ScriptedServer

from .faces import Doing, eventually

PATIENCE = 0.3
"""Seconds after which a reply is late, where a test is about that."""


def usual_answers() -> dict[str, Any]:
    """Return answers as if each key held "value", and as if INCR counted one number."""
    numbers = itertools.count(1)
    return {"GET": b"value", "INCRBY": lambda args: next(numbers)}


def stock(server: ScriptedServer) -> None:
    """Have a server give those answers."""
    for name, answer in usual_answers().items():
        server.answer(name, answer)


class Mute:
    """A stocked server behind a proxy, which keeps its replies to a command to itself."""

    def __init__(self, server: ScriptedServer, proxy: FaultProxy) -> None:
        self.server = server
        self.proxy = proxy
        self._usual = usual_answers()
        self._withheld, self._before = "", 0
        for name in self._usual:
            self.restore(name)

    @property
    def at(self) -> dict[str, Any]:
        """Where it is, as a connection's keywords."""
        return {"host": self.proxy.host, "port": self.proxy.port}

    @property
    def heard(self) -> int:
        """How often the command that is withheld has come."""
        return self.server.count(self._withheld) - self._before

    def withhold(self, name: str, times: int = 1, then: Any = None) -> None:
        """Do not answer the next `times` commands of that name; answer those after them, as usual or with `then`."""
        self._withheld, self._before = name, self.server.count(name)
        self.server.answer(name, *[Raw(b"")] * times, then or self._usual.get(name, "ok"))

    def restore(self, name: str) -> None:
        """Answer the command again, over connections that owe no reply."""
        self.server.answer(name, self._usual.get(name, "ok"))

    def lose(self, how: str, call: Callable[[], Any], times: int = 1) -> Doing:
        """Make the call, which loses its reply as `how` says, so many times."""
        doing = Doing(call)
        for time in range(1, times + 1):
            assert eventually(lambda time=time: self.heard >= time)  # type: ignore[misc]
            if how == "reset":
                self.proxy.reset()
            elif how == "hang-up":
                self.server.hang_up()
        return doing


def impatient(how: str) -> dict[str, Any]:
    """Return the keywords with which a reply that doesn't come is late, or with which none is."""
    return {"socket_timeout": PATIENCE if how == "late" else 30.0}


def check_lost(error: BaseException | None, command: str, how: str = "hang-up") -> None:
    """It is the error that says: it may have run."""
    assert type(error) is (ReplyLate if how == "late" else ReplyLost), repr(error)
    assert isinstance(error, redis.ConnectionError)
    assert isinstance(error, redis.TimeoutError) == (how == "late")
    assert error.sent is True
    assert error.command == command
    assert f"{command} may have run" in str(error)
    assert type(error.__cause__) is (redis.TimeoutError if how == "late" else redis.ConnectionError)
