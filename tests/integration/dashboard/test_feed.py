"""One look serves all viewers; without a viewer there is none; a slow viewer gets the latest."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from redpool.dashboard import app, feed
from support.asgi import ask, streaming
from support.fleets import MadeUpFleet, crowd, shop


class Stepped(MadeUpFleet):
    """A fleet at which the feed looks as fast as it can, and waits before each look until the test lets it go on."""

    def __init__(self) -> None:
        super().__init__(shop().processes)
        self.failure: Exception | None = None

    def read(self) -> Any:
        if self.failure is not None:
            raise self.failure
        return super().read()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks follow each other at once, and the feed doesn't wait for a viewer to come back."""
    monkeypatch.setattr(feed, "PERIOD", 0.01)
    monkeypatch.setattr(feed, "_LINGER", 0.0)


def idle(seconds: float, chance: Any) -> None:
    """Let time pass without effect."""


def event(message: str) -> tuple[str, Any]:
    name, data = message.strip().split("\n")
    return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def test_all_viewers_see_the_same_looks() -> None:
    """The first message is everything, the next ones what has changed; there are as many looks as for one viewer."""
    fleet = Stepped()

    async def view() -> None:
        application = app(fleet)
        async with streaming(application, "/events") as one, streaming(application, "/events?page=fleet") as other:
            for stream in (one, other):
                name, whole = event(await stream.next())
                assert (name, whole["document"]["head"]["processes"]) == ("whole", 6)
            for _ in range(3):
                changes = [event(await stream.next()) for stream in (one, other)]
                assert {name for name, _ in changes} <= {"change", "whole"}
            assert one.answer.headers["content-type"].startswith("text/event-stream")
            assert one.answer.headers["cache-control"] == "no-store"

    asyncio.run(view())
    seen = fleet.looks
    assert seen >= 4


def test_without_a_viewer_nothing_is_read() -> None:
    """Neither before the first one nor after the last one has left; the next one is served again."""
    fleet = Stepped()

    async def view() -> None:
        application = app(fleet)
        assert fleet.looks == 0
        for _ in range(2):
            async with streaming(application, "/events") as stream:
                # What was seen while others viewed it is old.
                assert event(await stream.next())[1]["document"]["head"]["at"] > fleet.at - 1.5
            others = asyncio.all_tasks() - {asyncio.current_task()}
            await asyncio.wait_for(asyncio.gather(*others), 20)
            looks = fleet.looks
            await asyncio.sleep(0.05)
            assert fleet.looks == looks
            fleet.at += 100

    asyncio.run(view())


def test_a_slow_viewer_gets_the_latest_and_nothing_piles_up() -> None:
    """What it has missed is left out: its next message is everything."""
    fleet = Stepped()

    async def view() -> None:
        application = app(fleet)
        async with streaming(application, "/events") as slow, streaming(application, "/events") as quick:
            assert event(await slow.next())[0] == "whole"
            for _ in range(6):
                await quick.next()
            found = [event(await slow.next()) for _ in range(3)]
            late = [data for name, data in found if name == "whole"]
            assert late
            assert late[0]["document"]["head"]["at"] >= fleet.at - 6

    asyncio.run(view())


def test_where_the_source_fails_the_last_figures_stay() -> None:
    """The page says why, and shows them as stale. Once the source answers again, they go on."""
    fleet = Stepped()

    async def view() -> None:
        async with streaming(app(fleet), "/events") as stream:
            await stream.next()
            fleet.failure = OSError("the server is away")
            while "the server is away" not in (said := await stream.next()):
                pass
            data = event(said)[1]
            assert data.get("patch", data.get("document", {}))["head"].get("processes", 6) == 6
            fleet.failure = None
            while '"error":""' not in await stream.next():
                pass

    asyncio.run(view())


def test_what_there_is_no_page_of_is_refused() -> None:
    """With the pages that there are; and beyond a number of viewers further ones are."""
    fleet = Stepped()
    assert ask(app(fleet), "/events?page=nonsense").status == 400
    assert fleet.looks == 0


def test_too_many_viewers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are there stay."""
    monkeypatch.setattr(feed, "_VIEWERS", 1)

    async def view() -> None:
        application = app(Stepped())
        async with streaming(application, "/events") as one:
            await one.next()
            async with streaming(application, "/events") as other:
                assert "viewers" in await other.next()
            assert other.answer.status == 503
            await one.next()

    asyncio.run(view())


def test_a_change_is_small() -> None:
    """What stays the same is not sent again."""
    fleet = crowd(20, 5)

    async def view() -> None:
        async with streaming(app(fleet), "/events") as stream:
            whole = await stream.next()
            for process in fleet.processes[1:]:
                for pool in process.pools:
                    pool.go_on = idle  # type: ignore[method-assign]  # nothing happens in it
            for _ in range(14):  # until the figures of the last seconds don't change any more
                last = await stream.next()
            while event(last)[0] != "change":
                last = await stream.next()
            assert len(last) < len(whole) / 5

    asyncio.run(view())
