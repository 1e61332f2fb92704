"""The whole way: real pools of this process, a real server, real reports, a real browser."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import redis
from playwright.sync_api import Page, expect

import redpool
from redpool.embedded import Server
from redpool.fleet.reader import Reader

from .conftest import Served


@contextmanager
def calling(pool: Any, callers: int) -> Iterator[None]:
    """Have callers that keep a connection for a while, again and again, whatever happens to it."""
    ended = threading.Event()

    def call() -> None:
        client = redis.Redis(connection_pool=pool)
        while not ended.is_set():
            try:
                client.blpop(["nothing"], timeout=0.2)
            except redis.RedisError:
                ended.wait(0.05)

    threads = [threading.Thread(target=call, name=f"caller-{number}") for number in range(callers)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def test_real_pools_loaded_exhausted_restarted_and_closed(
    own_server: Server, redis_url: str, serve: Callable[..., Served], opened: Callable[..., Page]
) -> None:
    """All of it is seen, page by page, each within a few seconds."""
    with ExitStack() as stack:
        at: dict[str, Any] = {"host": own_server.host, "port": own_server.port}
        carts = redpool.ConnectionPool(**at, name="carts", service="shop", max_connections=3, leak_after=60.0)
        queue = redpool.MultiplexedConnectionPool(**at, name="queue", service="shop", max_connections=5)
        stack.callback(carts.shutdown, 1.0)
        stack.callback(queue.shutdown, 1.0)
        stack.enter_context(redpool.publish([carts, queue], service="shop", url=redis_url, period=0.5))
        redis.Redis(connection_pool=queue).set("key", "value")
        source = Reader(redis_url, server=own_server.url)
        page = opened(serve(source).url)
        expect(page.get_by_role("link", name="carts")).to_be_visible(timeout=20_000)
        expect(page.get_by_role("region", name="Pools")).to_contain_text("fine")

        with calling(carts, 8):
            expect(page.get_by_role("region", name="Pools")).to_contain_text("exhausted", timeout=20_000)
            page.get_by_role("link", name="carts").click()
            expect(page.locator(".words")).to_contain_text("callers wait, the first for", timeout=20_000)
            expect(page.get_by_text("test_real.py").first).to_be_visible(timeout=20_000)
            expect(page.get_by_role("region", name="Who waits")).to_contain_text("caller-", timeout=20_000)

            own_server.restart()
            expect(page.locator(".facts")).to_contain_text("closed: error", timeout=20_000)
            expect(page.locator("#state")).to_have_text("Live", timeout=20_000)
            page.get_by_role("link", name="Server").click()
            expect(page.get_by_role("region", name="By owner")).to_contain_text("known", timeout=20_000)
            expect(page.get_by_role("region", name="By owner")).to_contain_text("carts")

        page.go_back()
        expect(page.locator(".words")).to_contain_text("No caller waits", timeout=20_000)
        page.get_by_role("link", name="shop").click()
        expect(page.get_by_role("region", name="Processes").locator("tbody tr")).to_have_count(1, timeout=20_000)
        stack.close()
        expect(page.get_by_text("No live process of this service reports")).to_be_visible(timeout=20_000)
        source.close()
