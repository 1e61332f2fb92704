"""A browser, pages in it that may not fail or leave this machine, and dashboards to look at."""

from __future__ import annotations

import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, sync_playwright

from redpool import dashboard

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Without these it asks for its maker's hosts at every start.
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
REFUSED = "net::ERR_CONNECTION_REFUSED", "net::ERR_INCOMPLETE_CHUNKED_ENCODING", "net::ERR_CONNECTION_RESET"


class Served:
    """A dashboard on a free port of this machine, which can be stopped and started again at the same one."""

    def __init__(self, application: Any) -> None:
        self._application = application
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        config = uvicorn.Config(
            self._application, host="127.0.0.1", port=self.port, access_log=False, log_level="error", lifespan="off",
            timeout_graceful_shutdown=1,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            self._thread.join(0.01)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The system's Chromium, without a window."""
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.fail("no Chromium on the PATH: apt-get install chromium, or say make browser CHROMIUM=/path/to/one")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Served]]:
    """Serves what a source reads, or an application, until all pages are closed."""
    running: list[Served] = []

    def start(source: Any, application: Any = None, **options: Any) -> Served:
        running.append(Served(application or dashboard.app(source, **options)))
        return running[-1]

    yield start
    for served in running:
        served.stop()


@pytest.fixture
def opened(browser: Browser, serve: Callable[..., Served]) -> Iterator[Callable[..., Page]]:
    """Opens a page. It fails the test where the page logs an error, or asks another host for anything."""
    wrong: list[str] = []
    contexts = []

    def open_page(
        url: str, *, away: bool = False, forbidden: bool = False, unknown: bool = False, **options: Any
    ) -> Page:
        """Open `url`. Its server may be `away`; the test may do what is `forbidden`, or be `unknown` at first."""
        context = browser.new_context(**{"viewport": {"width": 1360, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        ours = urlsplit(url).netloc

        def note(message: Any) -> None:
            passed_over = (*REFUSED * away, *("TrustedHTML",) * forbidden, *("401 (Unauthorized)",) * unknown)
            expected = any(each in message.text for each in passed_over)
            if message.type in ("error", "warning") and not expected:
                wrong.append(f"{message.type}: {message.text}")

        def asked(request: Any) -> None:
            if urlsplit(request.url).netloc != ours and not request.url.startswith(("blob:", "data:")):
                wrong.append(f"asked {request.url}")

        page.on("console", note)
        page.on("pageerror", lambda error: wrong.append(f"uncaught: {error}"))
        page.on("request", asked)
        page.on("dialog", lambda dialog: wrong.append(f"dialog: {dialog.message}"))
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []
