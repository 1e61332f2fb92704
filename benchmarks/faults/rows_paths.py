"""Connections that the server has closed, and paths that are dead: notes 23, 24, 25 and 66."""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import Any

from redpool.testing import FaultProxy
from support.faces import eventually, together

from .rows import Finding, row
from .scenes import Outcome, Path, attempt, attempt_on_a_loop
from .sides import Side


@row(23, "asyncio: 30 idle connections are killed, then 30 GETs at once; a pool without retries")
async def killed_while_idle(side: Side) -> Finding:
    """From the server's end, as its `timeout` or a restart does it."""
    pool = side.tasks.pool(client_name="idle")
    client = side.tasks.client(pool)
    taken = [await pool.get_connection() for _ in range(30)]
    for connection in taken:
        await pool.release(connection)
    observer = side.observer()
    idle = [each["id"] for each in observer.client_list() if each["name"] == "idle"]
    # In another thread, so that the event loop runs and notices.
    await asyncio.to_thread(lambda: [observer.client_kill_filter(_id=number) for number in idle])
    outcomes = await asyncio.gather(*(attempt_on_a_loop(lambda: client.get("key")) for _ in range(30)))
    failed = [each for each in outcomes if each.error is not None]
    return Finding(not failed, f"{len(failed)} of 30 failed")


_CALLS, _PAUSE = 120, 0.002
# No handshake, so that each connection gives three answers and no more.
_BARE: dict[str, Any] = {"protocol": 2, "driver_info": None}


@row(66, "a proxy hangs up behind each third answer; 120 INCR, 2 ms apart, 3 retries", timed=True)
def a_proxy_that_hangs_up(side: Side) -> Finding:
    """A command sent over a connection that was closed by then never ran; only a probe before it can tell."""
    with FaultProxy(side.server.host, side.server.port) as proxy:
        proxy.hang_up_after(3)
        client = side.threads.client(at=proxy, **_BARE, retry=side.threads.retry(3, base=0))
        outcomes = []
        for _ in range(_CALLS):
            time.sleep(_PAUSE)
            outcomes.append(attempt(lambda: client.incr("n")))
        return _none_lost(side, outcomes)


@row(66, "the same with asyncio, the loop being blocked for the 2 ms", timed=True)
async def a_proxy_that_hangs_up_on_a_loop(side: Side) -> Finding:
    """A command sent over a connection that was closed by then never ran, and the loop has not noticed the close."""
    with FaultProxy(side.server.host, side.server.port) as proxy:
        proxy.hang_up_after(3)
        client = side.tasks.client(at=proxy, **_BARE, retry=side.tasks.retry(3, base=0))
        outcomes = []
        for _ in range(_CALLS):
            _block(_PAUSE)
            outcomes.append(await attempt_on_a_loop(lambda: client.incr("n")))
        return _none_lost(side, outcomes)


def _block(seconds: float) -> None:
    """Block the event loop, as a callback that computes or a stopped process does."""
    time.sleep(seconds)


def _none_lost(side: Side, outcomes: list[Outcome]) -> Finding:
    failed = sum(each.error is not None for each in outcomes)
    count = int(side.observer().get("n") or 0)
    return Finding(not failed and count == _CALLS, f"{failed} of {_CALLS} failed; the counter is at {count}")


_PATIENCE = 2.0
_WATCHFUL = {"health_check_interval": 0.2, "socket_timeout": 0.3}


@row(
    25,
    "a PubSub with health_check_interval=0.2 and socket_timeout=0.3, whose path goes silent; "
    "a message is published every 0.1 s, for 2 s at most, and new paths work",
    timed=True,
)
def a_subscriber_on_a_silent_path(side: Side) -> Finding:
    """As with a NAT or a load balancer, which forgets the connection without a word to either side."""
    with Path(side.server) as path:
        subscriber = side.threads.client(at=path, **_WATCHFUL).pubsub()
        subscriber.subscribe("news")
        eventually(lambda: subscriber.get_message(timeout=0.1))
        path.forget()
        ear = _Ear(side)
        while ear.listening():
            ear.hear(attempt(lambda: subscriber.get_message(timeout=0.1)))
        return ear.finding()


@row(25, "the same with asyncio", timed=True)
async def a_subscriber_on_a_silent_path_on_a_loop(side: Side) -> Finding:
    """As with a NAT or a load balancer, which forgets the connection without a word to either side."""
    with Path(side.server) as path:
        subscriber = side.tasks.client(at=path, **_WATCHFUL).pubsub()
        await subscriber.subscribe("news")
        while await subscriber.get_message(timeout=0.1) is None:
            pass
        path.forget()
        ear = _Ear(side)
        while ear.listening():
            ear.hear(await attempt_on_a_loop(lambda: subscriber.get_message(timeout=0.1)))
        return ear.finding()


class _Ear:
    """Publishes, and notes when the first message came through, and the errors meanwhile."""

    def __init__(self, side: Side) -> None:
        self._observer = side.observer()
        self._began = time.monotonic()
        self._heard: float | None = None
        self._errors = 0

    def listening(self) -> bool:
        """Whether to go on; a message is published then."""
        self._observer.publish("news", "now")
        return self._heard is None and time.monotonic() < self._began + _PATIENCE

    def hear(self, outcome: Outcome) -> None:
        """What `get_message` came to."""
        self._errors += outcome.error is not None
        if outcome.value is not None and outcome.value["type"] == "message":
            self._heard = time.monotonic() - self._began

    def finding(self) -> Finding:
        """Whether it heard anything."""
        heard = f"silent for {_PATIENCE:g} s" if self._heard is None else f"heard again after {self._heard:.1f} s"
        return Finding(self._heard is not None, f"{heard}, {self._errors} errors")


_IDLE = 1.0


@row(
    24,
    "10 idle connections are forgotten by a NAT; after 1 s idle 10 GETs at once, 10 retries, socket_timeout=0.3; "
    "validation is due after 0.2 s idle (redis-py: health_check_interval=0.2, ours: ping_after_idle=0.2)",
    timed=True,
)
def an_idle_path_that_died(side: Side) -> Finding:
    """Return whether a message came through, and when."""
    with Path(side.server) as path:
        pool = side.threads.pool(at=path, **_checked(side), retry=side.threads.retry())
        client = side.threads.client(pool)
        taken = [pool.get_connection() for _ in range(10)]
        for connection in taken:
            pool.release(connection)
        path.forget()
        time.sleep(_IDLE)
        doings = together(10, lambda _: attempt(lambda: client.get("key")))
        return _no_stall([doing.result() for doing in doings])


@row(24, "the same with asyncio", timed=True)
async def an_idle_path_that_died_on_a_loop(side: Side) -> Finding:
    """With redis-py's default of 5 s each GET takes 5 s."""
    with Path(side.server) as path:
        pool = side.tasks.pool(at=path, **_checked(side), retry=side.tasks.retry())
        client = side.tasks.client(pool)
        taken = [await pool.get_connection() for _ in range(10)]
        for connection in taken:
            await pool.release(connection)
        path.forget()
        await asyncio.sleep(_IDLE)
        outcomes = await asyncio.gather(*(attempt_on_a_loop(lambda: client.get("key")) for _ in range(10)))
        return _no_stall(outcomes)


def _checked(side: Side) -> dict[str, Any]:
    return {"socket_timeout": 0.3, **(side.ours(ping_after_idle=0.2) or {"health_check_interval": 0.2})}


def _no_stall(outcomes: list[Any]) -> Finding:
    failed = sum(each.error is not None for each in outcomes)
    p50 = statistics.median(each.seconds for each in outcomes)
    return Finding(not failed and p50 < 0.15, f"p50 {p50:.2f} s, {failed} of {len(outcomes)} failed")
