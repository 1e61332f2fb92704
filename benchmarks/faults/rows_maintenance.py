"""Servers that announce what they are about to do: note 44."""

from __future__ import annotations

import threading
import time
from collections import Counter

from redis.maint_notifications import MaintNotificationsConfig

from redpool.testing import ScriptedServer
from support.faces import Doing

from .rows import Finding, row
from .scenes import attempt
from .sides import Side

_CALLERS = 8


@row(44, "a server announces that it moves (MOVING), 10 times, under 8 threads with INCR: how many fail? No retries")
def moving_under_load(side: Side) -> Finding:
    """The thread that has read the announcement handles it, amid other callers' replies."""
    with ScriptedServer() as server:
        pool = side.threads.pool(server, protocol=3, max_connections=20)
        client = side.threads.client(pool)
        seen: Counter[str] = Counter()
        over = threading.Event()

        def work(number: int) -> None:
            while not over.is_set():
                outcome = attempt(lambda: client.incr(f"n:{number}"))
                seen["ok" if outcome.error is None else type(outcome.error).__name__] += 1

        doings = [Doing(lambda number=number: work(number)) for number in range(_CALLERS)]  # type: ignore[misc]
        for number in range(1, 11):
            time.sleep(0.05)
            name = ("localhost", server.host)[number % 2]
            server.push(["MOVING", number, 1, f"{name}:{server.port}"])
        over.set()
        for doing in doings:
            doing.result()
        failed = ", ".join(f"{count} {name}" for name, count in seen.items() if name != "ok")
        return Finding(seen["ok"] > 0 and not failed, failed or "none")


@row(
    44,
    "a server announces maintenance (MIGRATING: replies may take 5 s) and is silent for 0.6 s, socket_timeout=0.2;"
    " 8 INCR at once; no retries",
)
def relaxed_timeouts(side: Side) -> Finding:
    """The timeout that the notification allows holds for each caller."""
    with ScriptedServer() as server:
        config = MaintNotificationsConfig(relaxed_timeout=5)
        pool = side.threads.pool(server, protocol=3, socket_timeout=0.2, maint_notifications_config=config)
        client = side.threads.client(pool)
        for connection in [pool.get_connection() for _ in range(_CALLERS)]:
            pool.release(connection)
        client.ping()
        server.push(["MIGRATING", 1, 5])
        time.sleep(0.05)
        together = [Doing(client.ping) for _ in range(_CALLERS)]
        for doing in together:
            doing.result()
        server.pause()
        doings = [Doing(lambda: attempt(lambda: client.incr("n"))) for _ in range(_CALLERS)]
        time.sleep(0.6)
        server.resume()
        failed = [each for each in (doing.result().error for doing in doings) if each is not None]
        kinds = ", ".join(sorted({type(each).__name__ for each in failed}))
        return Finding(not failed, f"{len(failed)} of {_CALLERS} failed{': ' + kinds if failed else ''}")
