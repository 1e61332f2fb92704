"""The server is told whose each connection is: a name that says which process, and which pool of it.

CLIENT SETNAME goes out just before redis-py's first CLIENT SETINFO, and its reply is read with the one to that. So no
round trip is added. A user that wants no CLIENT SETINFO (`driver_info=None`) gets no name either. The server may refuse
it, which has no consequence.
"""

from __future__ import annotations

import os
import socket
import sys
import weakref
from collections.abc import Callable
from functools import cache
from pathlib import PurePath
from typing import Any

from redis.asyncio.connection import AbstractConnection

from ..wire import client_names
from . import packing

_TELLS_LIBRARY = "CLIENT SETINFO"


def program_name() -> str:
    """Return what to call this program: the script that it runs, or the package."""
    path = PurePath((getattr(sys, "argv", None) or [""])[0])
    name = path.parent.name if path.stem == "__main__" else path.stem
    return name if name not in ("", "-c", "-m", "-") else "python"


@cache
def _host() -> str:
    return socket.gethostname()


def namer(service: str, pool: str) -> Callable[[], str]:
    """Return a function that says what the connections of this pool are called in the process that asks."""
    prefix = client_names.prefix(service, pool, _host())
    return lambda: f"{prefix}{os.getpid()}"


def begin(connection: Any) -> None:
    """Have a handshake that begins give the connection its name."""
    if type(connection._parser) in (_Reader, _ReaderAsync):
        connection._parser = connection._parser.parser  # the handshake before was interrupted
    connection.given_name = ""
    namer = None if connection.client_name else connection.namer
    connection.name_due = None if namer is None else namer()


def end(connection: Any) -> None:
    """Note that the handshake is through, with a name or without."""
    connection.name_due = None


def send(connection: Any, command: str) -> None:
    """Send the name before this command, if that is one it can go with."""
    if command != _TELLS_LIBRARY:
        return
    name, connection.name_due = connection.name_due, None
    if connection.write_aside(packing.pack(("CLIENT", "SETNAME", name))):
        reader = _ReaderAsync if isinstance(connection, AbstractConnection) else _Reader
        connection._parser = reader(connection, name)


class _Reader:
    """In the place of a connection's parser until that has read the reply to CLIENT SETNAME, which may be an error."""

    def __init__(self, connection: Any, name: str) -> None:
        self.parser = connection._parser
        self._connection: Callable[[], Any] = weakref.ref(connection)
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(self.parser, name)

    def read_response(self, *args: Any, **kwargs: Any) -> Any:
        """Read that reply, then the next one."""
        connection = self._leave()
        if not isinstance(self.parser.read_response(*args, **kwargs), Exception):
            connection.given_name = self._name
        return self.parser.read_response(*args, **kwargs)

    def _leave(self) -> Any:
        """Put the parser back, which may ask the connection for itself."""
        connection = self._connection()
        connection._parser = self.parser
        return connection


class _ReaderAsync(_Reader):
    """The same on an event loop."""

    async def read_response(self, *args: Any, **kwargs: Any) -> Any:
        """Read that reply, then the next one."""
        connection = self._leave()
        if not isinstance(await self.parser.read_response(*args, **kwargs), Exception):
            connection.given_name = self._name
        return await self.parser.read_response(*args, **kwargs)
