"""Takes the pictures of `redpool top` that docs/top.md shows: of real processes over a private server.

Run as `PYTHONPATH=../src python -m docs.draw_top` in the directory `tests`; it takes a minute, and writes into docs/.
"""

from __future__ import annotations

import asyncio
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import redis

import redpool
from redpool import embedded
from redpool.fleet import Reader

DOCS = Path(__file__).parents[2] / "docs"
SETTLED = 62.0  # seconds after which each bar of the trends is there
AT_HOME = "redis://localhost:6379/0"
# Textual's pictures name a font, and fetch it from another host. A browser's own will do.
FONT = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)

# -- what is looked at -------------------------------------------------------------------------------------------------


def export_orders(pool: redpool.ConnectionPool) -> None:
    """Hold a connection for longer than it takes, as a report that is slow to write does."""
    while True:
        try:
            with pool.connection() as connection:
                connection.send_command("HGETALL", "orders")
                connection.read_response()
                time.sleep(random.uniform(0.6, 2.4))
        except redpool.PoolTimeout:
            continue


def serve(pool: redpool.ConnectionPool) -> None:
    """Read now and then, more often in some seconds than in others."""
    client = redis.Redis(connection_pool=pool)
    while True:
        client.get("cart")
        time.sleep(0.02 * random.random() * (1.5 if time.time() % 30 < 12 else 0.4))


def hold_session(pool: redpool.ConnectionPool) -> None:
    """Take a connection for a moment at a time."""
    while True:
        with pool.connection() as connection:
            connection.send_command("HGET", "session", "user")
            connection.read_response()
            time.sleep(random.random() * (0.2 if time.time() % 40 < 20 else 0.05))
        time.sleep(random.random() * 0.2)


def work(url: str, service: str) -> None:
    """Be one process of a service, until it is ended."""
    names = {"shop": [("cart", 16), ("sessions", 8)], "orders": [("cart", 16), ("export", 2)]}[service]
    pools = {
        name: redpool.ConnectionPool.from_url(url, max_connections=most, name=name, service=service, timeout=3.0)
        for name, most in names
    }
    redpool.publish(list(pools.values()), service=service, url=url)
    callers: dict[str, tuple[int, Callable[[redpool.ConnectionPool], None]]] = {
        "cart": (8, serve), "sessions": (12, hold_session), "export": (5, export_orders),
    }  # fmt: skip
    for name, pool in pools.items():
        number, target = callers[name]
        for each in range(number):
            threading.Thread(target=target, args=(pool,), name=f"{name}-{each}", daemon=True).start()
    threading.Event().wait()


def start(url: str, service: str) -> subprocess.Popen[bytes]:
    """Start a process of a service. Its code gets a name that says nothing of this machine."""
    code = f"""
from pathlib import Path
names = {{"__name__": "orders", "__file__": {__file__!r}}}
exec(compile(Path({__file__!r}).read_text(), "/app/orders.py", "exec"), names)
names["work"]({url!r}, {service!r})
"""
    return subprocess.Popen([sys.executable, "-c", code])


# -- the pictures ------------------------------------------------------------------------------------------------------


async def take(url: str, name: str, size: tuple[int, int], keys: str = "") -> None:
    """Write the picture of the screen after these keys."""
    from redpool.top.app import Top

    app = Top(AT_HOME, Reader(url, history=75.0), 0.5)
    async with app.run_test(size=size) as pilot:
        await asyncio.sleep(3)
        for key in keys.split():
            await pilot.press(key)
        await asyncio.sleep(1)
        picture = FONT.sub("", app.export_screenshot(title="redpool top"))
    (DOCS / name).write_text(picture, encoding="utf-8")


def main() -> None:
    """Start the processes, have them work, and take the pictures."""
    with embedded.server() as url:
        others = [start(url, service) for service in ("shop", "shop", "orders")]
        lost = start(url, "orders")
        try:
            reader = Reader(url)
            while len(reader.read().processes) < len(others) + 1:
                time.sleep(0.5)
            time.sleep(3)
            lost.send_signal(signal.SIGSTOP)  # it reports no more, and its connections stay
            time.sleep(SETTLED)
            asyncio.run(take(url, "top.svg", (110, 32)))
            asyncio.run(take(url, "top-clients.svg", (100, 24), "c"))
            asyncio.run(take(url, "top-narrow.svg", (60, 24)))
        finally:
            for process in (*others, lost):
                process.kill()


if __name__ == "__main__":
    main()
