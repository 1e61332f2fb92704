"""Who is measured, and that each answers right first."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import redis

from benchmarks.peers.cases import CASES
from benchmarks.peers.contenders import BARE, BLOCKING, PEERS, PLAIN, of_kind
from benchmarks.peers.ground import Ground
from benchmarks.peers.measure import WrongAnswer, check, measure
from benchmarks.peers.peer import OTHERS, TASKS, THREADS, Address, Client, Peer
from redpool.bench.load import Figures, ThreadLoad

from .made_up import BOTH, SECONDS, instead, instead_async, right, wrong


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: f"{peer.kind}, {peer.name}")
def test_every_installed_peer_answers_right(peer: Peer, place: Ground) -> None:
    """Single values, several at once, and a pipeline."""
    if not peer.installed:
        pytest.skip(f"{peer.module} is not installed")
    check(peer, place)


@pytest.mark.parametrize("open_it", [partial(instead, wrong), partial(instead_async, wrong)])
def test_a_wrong_answer_is_seen(open_it: Any, place: Ground) -> None:
    """Of threads and of tasks; here every caller gets the first key's value."""
    kind = THREADS if open_it.func is instead else TASKS
    with pytest.raises(WrongAnswer, match="expected"):
        check(Peer("liar", OTHERS, kind, open_it), place)


def test_a_wrong_answer_in_a_pipeline_is_seen(place: Ground) -> None:
    """Though each single one is right."""

    @contextmanager
    def half_right(address: Address, callers: int) -> Iterator[Client]:
        yield Client(right, lambda key, count: [right(key)] * (count - 1))

    with pytest.raises(WrongAnswer, match="expected"):
        check(Peer("liar", OTHERS, THREADS, half_right), place)


@pytest.mark.parametrize("peer", BOTH, ids=lambda peer: peer.kind)
def test_the_limit_fails_when_the_server_hangs_up(peer: Peer, place: Ground) -> None:
    """It has no retries, and doesn't wait for ever."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = Address(*listener.getsockname())

        def hang_up() -> None:
            accepted, _ = listener.accept()
            accepted.recv(64)
            accepted.close()

        async def ask() -> None:
            async with asyncio.timeout(10), peer.open(address, 1) as client:
                hung_up = asyncio.get_running_loop().run_in_executor(None, hang_up)
                try:
                    await client.get("key")
                finally:
                    await hung_up

        with pytest.raises(ConnectionError):
            asyncio.run(ask()) if peer.kind == TASKS else _ask_from_a_thread(peer, address, hang_up)


def _ask_from_a_thread(peer: Peer, address: Address, hang_up: Callable[[], None]) -> None:
    with ThreadPoolExecutor(1) as other, peer.open(address, 1) as client:
        other.submit(hang_up)
        client.get("key")


@pytest.mark.parametrize("kind", [THREADS, TASKS])
@pytest.mark.parametrize("name", [PLAIN, BLOCKING, BARE])
def test_connections_are_those_the_server_has(name: str, kind: str, place: Ground) -> None:
    """Of the peer alone; one connection for one caller, whatever the pool."""
    peer = next(peer for peer in of_kind(kind) if peer.name == name)
    assert measure(peer, CASES[f"{kind}-1"], place, SECONDS)["connections"] == 1


@pytest.mark.parametrize("peer", BOTH, ids=lambda peer: peer.kind)
def test_commands_count_one_by_one_and_times_by_the_pipeline(
    peer: Peer, place: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipeline of 100 is 100 commands; its p50 is the whole pipeline's."""
    seen: Figures = {"per_s": 7.0, "cpu_us": 500.0, "p50_ms": 3.0}
    monkeypatch.setattr("redpool.bench.load._Load._figures", lambda load: dict(seen))
    figures = measure(peer, CASES[f"pipeline-{peer.kind}-100"], place, SECONDS)
    assert (figures["per_s"], figures["cpu_us"], figures["p50_ms"]) == (700.0, 5.0, 3.0)


def test_cpu_is_the_clients_own_while_the_load_ran() -> None:
    """Of the whole process, for each call."""
    figures = ThreadLoad([partial(_spin, 0.005)]).run(0.02)
    assert figures["cpu_us"] > 4_000


def _spin(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_callers_who_are_never_done_end_the_measurement() -> None:
    """After its patience; their threads are left behind."""
    done = threading.Event()
    try:
        with pytest.raises(TimeoutError, match="not done"):
            ThreadLoad([done.wait]).run(0.0001, patience=0.02)
    finally:
        done.set()


def test_values_have_the_size_that_the_case_says(place: Ground) -> None:
    """Of 30 bytes, of 1 KiB, of 64 KiB."""
    host, port = place.network.address(0)
    with redis.Redis(host=host, port=port) as client:
        for case in (CASES["threads-1"], CASES["value-threads-1KiB"], CASES["value-tasks-64KiB"]):
            assert client.strlen(place.prepare(case.value_bytes)) == case.value_bytes
