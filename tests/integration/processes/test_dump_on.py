"""A process that gets a signal says who has which connection of all its pools, whatever it is at."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import redpool
import redpool.asyncio
from redpool import signals
from support.children import in_child
from support.faces import Face, eventually

SIGNAL = signal.SIGUSR1


@pytest.fixture(autouse=True)
def handled() -> Iterator[list[int]]:
    """How often the handler was called that is there before."""
    calls: list[int] = []
    before = signal.signal(SIGNAL, lambda signum, _: calls.append(signum))
    yield calls
    signal.signal(SIGNAL, before)


def test_all_pools_are_dumped(threads: Face, at: dict[str, Any], handled: list[int]) -> None:
    """With their leases, the lines that took them, and their stats; the handler that was there is called, too."""
    said: list[str] = []
    redpool.dump_on(SIGNAL, said.append)
    pool, other = threads.pool(**at, name="cart"), threads.pool(**at, name="stock")
    with pool.connection():
        signal.raise_signal(SIGNAL)
        assert eventually(lambda: said)
    assert handled == [SIGNAL]
    text = said[0]
    assert text.startswith("redpool: ")
    assert f"in process {os.getpid()}" in text
    assert "cart: 1 in use, 0 waiting\n  in use " in text
    assert f'File "{__file__}"' in text
    assert "  pool=cart " in text
    assert f"{other.config.name}: 0 in use" in text


def test_a_thread_may_be_in_the_midst_of_a_change(threads: Face, at: dict[str, Any]) -> None:
    """Of the same pool: the handler waits for nothing."""
    said: list[str] = []
    redpool.dump_on(SIGNAL, said.append)
    pool = threads.pool(**at, name="midst")
    with pool._engine.guard:
        signal.raise_signal(SIGNAL)
        assert not said or "midst: " not in said[0]
    assert eventually(lambda: said)
    assert "midst: 0 in use" in said[0]


def test_an_event_loop_is_asked_where_it_turns(redis_url: str, handled: list[int]) -> None:
    """In a program whose loop is in the main thread, and has a handler of its own for the signal."""
    said: list[str] = []

    async def main() -> None:
        loop, heard, dumped = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()

        def take(text: str) -> None:
            said.append(text)
            loop.call_soon_threadsafe(dumped.set)

        loop.add_signal_handler(SIGNAL, heard.set)
        redpool.dump_on(SIGNAL, take)
        async with redpool.asyncio.ConnectionPool.from_url(redis_url, name="tasks") as pool, pool.connection():
            signal.raise_signal(SIGNAL)
            async with asyncio.timeout(20):
                await heard.wait()
                await dumped.wait()

    asyncio.run(main())
    assert "tasks: 1 in use, 0 waiting\n  in use " in said[0]
    assert handled == []


def test_the_text_may_go_to_a_file(tmp_path: Path, handled: list[int]) -> None:
    """At its end. What is said later takes the place of what was said before."""
    path = tmp_path / "dump"
    redpool.dump_on(SIGNAL, tmp_path / "other")
    redpool.dump_on(SIGNAL, path)
    for count in (1, 2):
        signal.raise_signal(SIGNAL)
        assert eventually(lambda count=count: path.exists() and path.read_text().count("redpool: ") == count)  # type: ignore[misc]
    assert not (tmp_path / "other").exists()
    assert handled == [SIGNAL] * 2


def test_a_nonsense_is_an_error() -> None:
    """At once, which names it."""
    with pytest.raises(TypeError, match="to must be a path or a function"):
        redpool.dump_on(SIGNAL, 7)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="signal"):
        redpool.dump_on(12345)


@pytest.mark.parametrize("handler", ["", "signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))"])
def test_a_process_that_is_to_end_ends(handler: str) -> None:
    """After it has written: by the signal itself, or by what the handler does that was there."""
    script = f"""
import os, signal, sys, time, redpool
pool = redpool.ConnectionPool(name="last words")
{handler}
redpool.dump_on(signal.SIGTERM)
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(20)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=20, check=False)
    assert "last words: 0 in use, 0 waiting" in done.stderr
    assert done.returncode == (3 if handler else -signal.SIGTERM)


def test_a_process_that_is_to_end_ends_though_no_thread_is_to_be_had() -> None:
    """It says that nothing was written."""
    script = """
import _thread, os, signal, time, redpool
redpool.dump_on(signal.SIGTERM)
def start_new_thread(*_):
    raise RuntimeError("can't start new thread")
_thread.start_new_thread = start_new_thread
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(20)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=20, check=False)
    assert "there is no dump" in done.stderr
    assert done.returncode == -signal.SIGTERM


def test_a_child_does_not_wait_for_what_its_parent_writes() -> None:
    """As it ends: the thread that writes doesn't exist there."""
    writes = threading.Event()
    redpool.dump_on(SIGNAL, lambda _: writes.wait(60.0))
    signal.raise_signal(SIGNAL)

    def child() -> None:
        _, writing = signals._under_way[-1]
        before = time.monotonic()
        signals._finish()
        assert writing.locked()
        assert time.monotonic() - before < signals._FINISHES_WITHIN

    try:
        in_child(child)
    finally:
        writes.set()
