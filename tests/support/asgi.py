"""Requests to an ASGI application, without a network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote


@dataclass
class Answer:
    """What an application has answered so far."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def text(self) -> str:
        return self.body.decode()


def scope_of(path: str, method: str, headers: Mapping[str, str], client: str, root: str) -> dict[str, Any]:
    place, _, query = path.partition("?")
    raw = {"host": "localhost:8379", **headers}
    return {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1", "method": method,
        "scheme": "http", "path": unquote(place), "raw_path": place.encode(), "query_string": query.encode(),
        "root_path": root, "headers": [(name.encode(), value.encode()) for name, value in raw.items() if value],
        "client": (client, 50000), "server": ("127.0.0.1", 8379), "extensions": {},
    }  # fmt: skip


def ask(
    application: Any,
    path: str = "/",
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    client: str = "127.0.0.1",
    body: bytes = b"",
    root: str = "",
) -> Answer:
    """Return the whole answer to a request; `root` is where a server says that the application is mounted."""
    answer = Answer()

    async def receive() -> Any:
        return {"type": "http.request", "body": body}

    async def send(message: Any) -> None:
        take(answer, message)

    asyncio.run(application(scope_of(path, method, headers or {}, client, root), receive, send))
    return answer


def take(answer: Answer, message: Any) -> None:
    if message["type"] == "http.response.start":
        answer.status = message["status"]
        answer.headers = {name.decode().lower(): value.decode() for name, value in message["headers"]}
    else:
        answer.body += message.get("body", b"")


class Stream:
    """A stream of events that is being read; it goes on only as far as messages are taken."""

    def __init__(self) -> None:
        self.answer = Answer()
        self.room = asyncio.Semaphore(0)
        self.messages: asyncio.Queue[bytes] = asyncio.Queue()
        self.leave = asyncio.Event()

    async def next(self) -> str:
        """Return the next message."""
        self.room.release()
        return (await asyncio.wait_for(self.messages.get(), 20)).decode()


@asynccontextmanager
async def streaming(application: Any, path: str) -> AsyncIterator[Stream]:
    """Open a stream, and leave it at the end as a browser does."""
    stream = Stream()

    async def receive() -> Any:
        await stream.leave.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message.get("body"):
            await stream.room.acquire()
            stream.messages.put_nowait(message["body"])
        take(stream.answer, message)

    task = asyncio.create_task(application(scope_of(path, "GET", {}, "127.0.0.1", ""), receive, send))
    try:
        yield stream
    finally:
        stream.leave.set()
        await asyncio.wait_for(task, 20)
