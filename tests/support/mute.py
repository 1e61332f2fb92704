"""A server that keeps a reply to itself, and what is said of a command whose reply was lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import redis

from redpool import ReplyLate, ReplyLost
from redpool.testing import FaultProxy, MemoryServer

from .faces import Doing, eventually

PATIENCE = 0.3
"""Seconds after which a reply is late, where a test is about that."""


class Mute:
    """A server in memory behind a proxy, which keeps its reply to one command to itself, once."""

    def __init__(self, server: MemoryServer, proxy: FaultProxy) -> None:
        self.server = server
        self.proxy = proxy
        self.heard = 0
        """how often that command has come"""
        self._silences = 0

    @property
    def at(self) -> dict[str, Any]:
        """Where it is, as a connection's keywords."""
        return {"host": self.proxy.host, "port": self.proxy.port}

    def withhold(self, name: str, times: int = 1) -> None:
        """Do not answer the next `times` commands of that name; carry out those after them."""
        self.heard, self._silences = 0, times
        self.server.answer(name, self._hear)

    def _hear(self, args: list[bytes]) -> bytes | None:
        self.heard += 1
        return b"" if self.heard <= self._silences else None

    def lose(self, how: str, call: Callable[[], Any], times: int = 1) -> Doing:
        """Make the call, which loses its reply as `how` says, so many times."""
        doing = Doing(call)
        for time in range(1, times + 1):
            assert eventually(lambda time=time: self.heard >= time)  # type: ignore[misc]
            if how == "reset":
                self.proxy.reset()
            elif how == "hang-up":
                self.server.kill_clients()
        return doing


def impatient(how: str) -> dict[str, Any]:
    """The keywords with which a reply that doesn't come is late; otherwise no caller is."""
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
