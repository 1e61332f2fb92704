"""The ASGI application: the page, its files, and the stream of events behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

from redpool.fleet.source import Source

from .documents import Topic
from .feed import Feed, TooManyViewers
from .guard import Application, Guard, Receive, Scope, Send

try:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import FileResponse, PlainTextResponse, RedirectResponse
    from starlette.routing import Mount, Route
    from starlette.staticfiles import StaticFiles
except ImportError as error:
    raise ImportError("the dashboard needs further packages: pip install 'redpool[dashboard]'") from error

__all__ = ["pages"]

STATIC = Path(__file__).parent / "static"
_PATIENCE = 60.0
"""Seconds after which a viewer that takes nothing is dropped."""


def pages(source: Source, *, token: str | None, guarded: bool) -> Application:
    """Return the application, with its guard before it."""
    routes = [
        Route("/", _index),
        Route("/events", _Events(Feed(source))),
        Mount("/static", StaticFiles(directory=STATIC)),
    ]
    return Guard(Starlette(routes=routes), token, guarded=guarded)


def _index(request: Request) -> Any:
    """Answer with the page. Its links are relative: its address ends with a slash."""
    if not request.url.path.endswith("/"):
        return RedirectResponse(request.url.path.rpartition("/")[2] + "/")
    return FileResponse(STATIC / "index.html", headers={"cache-control": "no-cache"})


class _Events:
    """Streams what has changed of a topic, as server-sent events."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request: `?page=pool&service=...&pool=...&process=...`."""
        asked = Request(scope).query_params
        names = ("service", "pool", "process")
        try:
            topic = Topic(asked.get("page", "fleet"), *(asked.get(name, "") for name in names))
            self._feed.check_room()
        except ValueError as error:
            await PlainTextResponse(str(error), 400)(scope, receive, send)
        except TooManyViewers as error:
            await PlainTextResponse(str(error), 503)(scope, receive, send)
        else:
            await _stream(self._feed.follow(topic), receive, send)


async def _stream(messages: AsyncGenerator[bytes, None], receive: Receive, send: Send) -> None:
    """Send all messages, until the viewer leaves or takes no more of them."""
    headers = {"content-type": "text/event-stream", "cache-control": "no-store", "x-accel-buffering": "no"}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": 200, "headers": raw})
    sending = asyncio.ensure_future(_send_all(messages, send))
    leaving = asyncio.ensure_future(_left(receive))
    try:
        await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (sending, leaving):
            task.cancel()
        await asyncio.gather(sending, leaving, return_exceptions=True)


async def _send_all(messages: AsyncGenerator[bytes, None], send: Send) -> None:
    async with aclosing(messages) as all_of_them:
        async for message in all_of_them:
            async with asyncio.timeout(_PATIENCE):
                await send({"type": "http.response.body", "body": message, "more_body": True})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
