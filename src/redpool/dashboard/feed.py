"""One reader for all viewers: it looks at the fleet once a second while there are any, and hands on what has changed.

All of it runs on one event loop; only the source is read, and the documents are made, in a thread beside it. A viewer
that is slower than the looks misses some: its next message holds everything, so nothing piles up for it.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

from redpool.fleet.model import FleetView
from redpool.fleet.source import Source

from .documents import LIMIT, Row, Scene, Topic, document, past, row
from .patches import Json, patch

__all__ = ["Feed", "TooManyViewers"]

_T = TypeVar("_T")

PERIOD = 1.0
"""Seconds from one look to the next."""
_WINDOW = 11
"""How many looks the figures `in the last seconds` reach back."""
_LINGER = 5.0
"""How many seconds the feed goes on without a viewer: a page that follows a link leaves and comes back."""
_HEARTBEAT = 10.0
"""Seconds of silence after which a viewer hears that the stream still stands."""
_VIEWERS = 100


class TooManyViewers(Exception):
    """There are as many viewers as the dashboard serves at once."""


@dataclass(frozen=True)
class _Issue:
    """The state of a topic after a look. It never changes: the thread makes it, the event loop hands it on."""

    number: int
    """no other issue of the feed has it"""
    follows: int
    """the number of the issue that `change` leads on from; 0 for none"""
    document: Json
    rows: tuple[Row, ...]
    change: bytes = b""

    @cached_property
    def whole(self) -> bytes:
        """All of it, for those that don't have the issue before."""
        return _message("whole", {"document": self.document, "rows": self.rows})


class _Channel:
    """A topic that has viewers: its latest issue, and how many view it."""

    def __init__(self) -> None:
        self.viewers = 0
        self.issue: _Issue | None = None
        self._fresh = asyncio.Event()

    def publish(self, issue: _Issue) -> None:
        """Wake all viewers with a new issue."""
        self.issue = issue
        self._fresh.set()
        self._fresh = asyncio.Event()

    async def after(self, number: int) -> _Issue | None:
        """Return the latest issue once it is another one than that, or `None` after a while."""
        if self.issue is None or self.issue.number == number:
            try:
                await asyncio.wait_for(self._fresh.wait(), _HEARTBEAT)
            except TimeoutError:
                return None
        return self.issue


class Feed:
    """Looks at a source every `PERIOD` seconds while there are viewers."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._views: deque[FleetView] = deque(maxlen=_WINDOW)
        self._channels: dict[Topic, _Channel] = {}
        self._scene: Scene | None = None
        self._looking: asyncio.Task[None] | None = None
        self._left = 0.0
        self._numbers = itertools.count(1)
        self._thread = ThreadPoolExecutor(1, "redpool dashboard")

    @property
    def viewers(self) -> int:
        """How many there are."""
        return sum(channel.viewers for channel in self._channels.values())

    async def follow(self, topic: Topic) -> AsyncGenerator[bytes, None]:
        """Yield messages of a stream of server-sent events about a topic, until the viewer leaves."""
        channel = self._join(topic)
        try:
            if channel.issue is None and self._scene is not None:
                issue = await self._beside(_first, topic, self._scene, self._numbers)
                if channel.issue is None:
                    channel.publish(issue)
            number = 0
            while True:
                latest = await channel.after(number)
                if latest is None:
                    yield _message("alive", {})
                    continue
                yield latest.change if number and latest.follows == number else latest.whole
                number = latest.number
        finally:
            self._leave(topic, channel)

    def check_room(self) -> None:
        """Raise `TooManyViewers` where no further viewer is served."""
        if self.viewers >= _VIEWERS:
            raise TooManyViewers(f"{_VIEWERS} viewers are here already")

    def _join(self, topic: Topic) -> _Channel:
        channel = self._channels.setdefault(topic, _Channel())
        channel.viewers += 1
        if self._looking is None or self._looking.done():
            self._views.clear()
            self._scene = None  # of a time when there were viewers: it is old
            self._looking = asyncio.create_task(self._look_on(), name="redpool dashboard")
        return channel

    def _leave(self, topic: Topic, channel: _Channel) -> None:
        channel.viewers -= 1
        self._left = time.monotonic()
        if not channel.viewers:
            self._channels.pop(topic, None)

    async def _look_on(self) -> None:
        """Look again and again, until there was no viewer for a while."""
        while self._channels or time.monotonic() - self._left < _LINGER:
            begun = time.monotonic()
            await self._look()
            await asyncio.sleep(max(PERIOD / 4, begun + PERIOD - time.monotonic()))

    async def _beside(self, function: Callable[..., _T], *arguments: Any) -> _T:
        """Return what a function returns that is called in the one thread that the source belongs to."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    async def _look(self) -> None:
        """Look once, and publish it to the viewers there are."""
        view = await self._beside(_read, self._source, self._views[-1] if self._views else None)
        self._views.append(view)
        present = {topic: channel.issue for topic, channel in self._channels.items()}
        self._scene, issues = await self._beside(_issues, tuple(self._views), present, self._numbers)
        for topic, issue in issues.items():
            if (channel := self._channels.get(topic)) is not None:
                channel.publish(issue)


def _read(source: Source, before: FleetView | None) -> FleetView:
    """Return what the source sees; where it fails, what was seen before, and why there is nothing newer."""
    try:
        return source.read()
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        return replace(before or FleetView(time.time()), error=reason)


def _issues(
    views: Sequence[FleetView], present: dict[Topic, _Issue | None], numbers: Iterator[int]
) -> tuple[Scene, dict[Topic, _Issue]]:
    scene = Scene.of(views)
    made = {
        topic: _first(topic, scene, numbers) if before is None else _next(topic, scene, numbers, before)
        for topic, before in present.items()
    }
    return scene, made


def _first(topic: Topic, scene: Scene, numbers: Iterator[int]) -> _Issue:
    return _Issue(next(numbers), 0, document(topic, scene), tuple(past(topic, scene.view)))


def _next(topic: Topic, scene: Scene, numbers: Iterator[int], before: _Issue) -> _Issue:
    shown = document(topic, scene)
    new = row(topic, scene)
    rows = (*before.rows[-LIMIT + 1 :], new) if new else before.rows
    change = {"patch": patch(before.document, shown), "row": new}
    return _Issue(next(numbers), before.number, shown, rows, _message("change", change))


def _message(event: str, data: object) -> bytes:
    """Return one server-sent event. JSON has no line breaks outside of its strings, and escapes those inside."""
    return f"event: {event}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()
