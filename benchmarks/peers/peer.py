"""The interface of a client that is measured."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, NamedTuple

THREADS = "threads"
TASKS = "tasks"

REDIS_PY = "redis-py"
REDPOOL = "redpool"
OTHERS = "others"
LIMIT = "limit"


class Address(NamedTuple):
    """The host and port on which a server, or the relay in front of one, listens."""

    host: str
    port: int


@dataclass(frozen=True)
class Client:
    """Two calls of an open client: the value of a key, and the values of several GETs of it in one pipeline.

    Both return an awaitable where the peer is one for tasks.
    """

    get: Callable[[str], Any]
    pipeline: Callable[[str, int], Any]


@dataclass(frozen=True)
class Peer:
    """A client's `name`, its `family`, the `kind` of callers that it is for, and how to open it.

    `open` takes an address and the number of callers, and returns a context manager (for tasks an asynchronous one)
    whose value is a `Client`. `module` is what has to be installed.
    """

    name: str
    family: str
    kind: str
    open: Callable[[Address, int], Any]
    module: str = "redis"

    @property
    def installed(self) -> bool:
        """Whether the peer can be imported."""
        return find_spec(self.module) is not None
