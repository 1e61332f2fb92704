"""What is asked of a client for it to be measured."""

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
    """Where a server, or the relay in front of one, listens."""

    host: str
    port: int


@dataclass(frozen=True)
class Client:
    """Two calls of an open client: the value of a key, and the values of so many GETs of it in one pipeline.

    Both give an awaitable where the peer is one for tasks.
    """

    get: Callable[[str], Any]
    pipeline: Callable[[str, int], Any]


@dataclass(frozen=True)
class Peer:
    """A client under its `name`: of which `family`, for which `kind` of callers, and how to open it.

    `open` takes an address and how many callers there will be, and gives a context manager (for tasks an asynchronous
    one) whose value is a `Client`. `module` is what has to be installed.
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
