"""Peers for tests: the bare limit, and simulated ones with set answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import pytest
import redis

from benchmarks.peers import runner
from benchmarks.peers.cases import CASES
from benchmarks.peers.contenders import BARE
from benchmarks.peers.ground import CHECKED_KEYS, Ground
from benchmarks.peers.limit import bare_protocol, bare_sockets
from benchmarks.peers.peer import LIMIT, OTHERS, TASKS, THREADS, Address, Client, Peer
from benchmarks.peers.report import Report
from redpool.bench.place import FREE

SECONDS = 0.02

BARE_THREADS = Peer(BARE, LIMIT, THREADS, bare_sockets)
BARE_TASKS = Peer(BARE, LIMIT, TASKS, bare_protocol)
BOTH = (BARE_THREADS, BARE_TASKS)


@contextmanager
def instead(get: Callable[[str], Any], address: Address, callers: int) -> Iterator[Client]:
    yield Client(get, lambda key, count: [get(key) for _ in range(count)])


@asynccontextmanager
async def instead_async(get: Callable[[str], Any], address: Address, callers: int) -> AsyncIterator[Client]:
    async def single(key: str) -> Any:
        return get(key)

    async def several(key: str, count: int) -> list[Any]:
        return [get(key) for _ in range(count)]

    yield Client(single, several)


def made_up(name: str, get: Callable[[str], Any], family: str = OTHERS) -> Peer:
    return Peer(name, family, THREADS, partial(instead, get))


def right(key: str) -> bytes:
    return CHECKED_KEYS.get(key, b"")


def wrong(key: str) -> bytes:
    return next(iter(CHECKED_KEYS.values()))


def down(key: str) -> bytes:
    raise redis.ConnectionError("down")


def run(
    monkeypatch: pytest.MonkeyPatch,
    place: Ground,
    *peers: Peer,
    rounds: int = 1,
    case: str = "threads-1",
    raised: list[str] | None = None,
) -> Report:
    monkeypatch.setattr(runner, "of_kind", lambda kind: peers)
    note = [] if raised is None else raised
    return runner.run([CASES[case]], [FREE], rounds, SECONDS, place, lambda what, done, total: note.append(what))
