"""The screen of `redpool top` over made-up views: what keys do, and what stands there when there is nothing to show."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable

import pytest
from textual.events import Key
from textual.pilot import Pilot

from redpool.fleet.model import FleetView, Owner
from redpool.top.app import Help, Table, Top
from redpool.top.headline import Look
from support.views import NOON, Played, client, exhausted, pool, process, server, view

PATIENCE = 30.0
FLEET = view(
    process(pool("cache", 3, 2), pool("jobs", 1)),
    process(pool("mail", 5), exhausted("orders"), service="api", pid=200),
    server=server(client(1, Owner.ORPHANED, process="api@web-1:9", pool="mail"), client(2, name="cron")),
)


def lines(pilot: Pilot[None]) -> list[str]:
    """Return what stands on the screen, line by line."""
    return [
        "".join(segment.text for segment in strip).rstrip() for strip in pilot.app.screen._compositor.render_strips()
    ]


def text(pilot: Pilot[None]) -> str:
    return "\n".join(lines(pilot))


def names(pilot: Pilot[None]) -> list[str]:
    """Return the names in the rows, from the top."""
    above_the_details = text(pilot).partition("──")[0]
    return re.findall(r"^ ((?:shop|api)\S*)  ", above_the_details, re.MULTILINE)


def show(pilot: Pilot[None], seen: FleetView | None, error: str | None = None) -> None:
    """Have it take a look as if it came from its reader."""
    pilot.app.post_message(Top.Looked(Look(seen, error, time.monotonic())))


async def until(condition: Callable[[], object]) -> None:
    """Return once it is so."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  Textual says by no event what stands on the screen
            await asyncio.sleep(0.005)


async def press(pilot: Pilot[None], keys: str, *expected: str) -> None:
    """Press keys, and return once all that is expected stands on the screen."""
    for key in keys.split():
        pilot.app.post_message(Key(key, " " if key == "space" else key if len(key) == 1 else None))
    await until(lambda: all(part in text(pilot) for part in expected))


def on_screen(
    first: FleetView, act: Callable[[Pilot[None]], Awaitable[None]], size: tuple[int, int] = (100, 30)
) -> None:
    """Run the application over a source that is read once, and do what the test does, once that is on the screen."""

    async def run() -> None:
        app = Top("redis://here", Played([first]), interval=3600.0)
        async with app.run_test(size=size) as pilot:
            await until(lambda: app.look != Look() and (size[0] < 60 or "? help" in lines(pilot)[-1]))
            await act(pilot)

    asyncio.run(run())


def test_the_worst_is_on_top_and_its_details_below() -> None:
    """Without a key pressed: who waits, and who holds what it waits for."""

    async def act(pilot: Pilot[None]) -> None:
        assert names(pilot) == ["api/orders", "api/mail", "shop/cache", "shop/jobs"]
        said = text(pilot)
        assert "redis://here  live  2 processes, 4 pools, 2 callers waiting" in said
        assert "clients 2 of 10000  orphaned 1  foreign 1" in said
        assert "web-7 has waited 4.2 s; 2 callers in the queue." in said
        assert "/app/orders.py:40 in take" in said

    on_screen(FLEET, act)


def test_keys_sort_filter_group_and_show_the_clients() -> None:
    """Each of them shows at once."""

    async def act(pilot: Pilot[None]) -> None:
        await press(pilot, "S S S", "max↓")
        await press(pilot, "S", "in use↓")
        assert names(pilot)[1] == "api/mail"
        await press(pilot, "r", "in use↑")
        assert names(pilot)[0] == "shop/jobs"
        await press(pilot, "slash s h o p space c a enter", "shop ca")
        await until(lambda: names(pilot) == ["shop/cache"] and isinstance(pilot.app.focused, Table))
        await press(pilot, "slash x y", "Nothing matches 'xy'")
        await press(pilot, "escape c", "orphaned")  # behind it comes a command, not a word
        await press(pilot, "c")
        await until(lambda: len(names(pilot)) == 4)
        await press(pilot, "g g g", "2 pools")
        assert sorted(names(pilot)) == ["api", "shop"]
        await press(pilot, "c", "api/mail  web-1:9", "orphaned")
        await press(pilot, "question_mark", "how many they are")
        await press(pilot, "escape q")
        await until(lambda: not pilot.app.is_running)

    on_screen(FLEET, act)


def test_the_details_follow_the_cursor_and_stay_with_their_row() -> None:
    """Wherever it moves; only the top stays the top. Alone they fill the screen."""
    calm = view(process(pool("cache"), pool("jobs", 9)), at=NOON + 1)

    async def act(pilot: Pilot[None]) -> None:
        await press(pilot, "down down down", "1 of 10 in use")
        show(pilot, calm)
        await until(lambda: "9 of 10 in use" in text(pilot))
        assert names(pilot) == ["shop/cache", "shop/jobs"]
        await press(pilot, "enter")
        await until(lambda: "waiting" not in text(pilot))
        assert "9 of 10 in use" in text(pilot)
        await press(pilot, "escape", "waiting")
        await press(pilot, "d")
        await until(lambda: "9 of 10 in use" not in text(pilot))

    on_screen(FLEET, act)


def test_a_pause_keeps_the_picture() -> None:
    """Reading goes on, and what came meanwhile is shown afterwards."""

    async def act(pilot: Pilot[None]) -> None:
        await press(pilot, "space", "paused for")
        show(pilot, view(process(pool("cache"))))
        await until(lambda: pilot.app.unseen)  # type: ignore[attr-defined]  # it is the application
        assert len(names(pilot)) == 4
        await press(pilot, "space", "live")
        await until(lambda: len(names(pilot)) == 1)

    on_screen(FLEET, act)


def test_a_source_that_fails_is_said_and_tried_again() -> None:
    """Before the first view, and after it: then what was known is still shown, as stale."""

    async def act(pilot: Pilot[None]) -> None:
        await press(pilot, "", "disconnected", "redis://here can't be read: Connection refused")
        show(pilot, FLEET)
        await until(lambda: len(names(pilot)) == 4)
        show(pilot, FLEET, "gone [away]")
        await press(pilot, "", "stale for", "gone [away]")
        assert len(names(pilot)) == 4
        show(pilot, view(at=NOON + 9))
        await press(pilot, "", "No process reports its pools here.")

    on_screen(view(error="Connection refused"), act)


@pytest.mark.parametrize("size", [(80, 24), (60, 24), (20, 5)])
def test_narrow_terminals_show_what_matters(size: tuple[int, int]) -> None:
    """Who waits and for how long, from 60 columns on; nothing fails on less."""

    async def act(pilot: Pilot[None]) -> None:
        said = lines(pilot)
        assert all(len(line) <= size[0] for line in said)
        if size[0] >= 60:
            row = next(line for line in said if line.startswith(" api/orders"))
            assert "4.2 s" in row
            assert "web-7 has waited 4.2 s" in text(pilot)
        await press(pilot, "enter escape c g question_mark")
        await until(lambda: isinstance(pilot.app.screen, Help))

    on_screen(FLEET, act, size)


def test_more_rows_than_can_be_looked_through_are_counted() -> None:
    """The worst are there; a filter finds the others."""
    many = view(process(*(pool(f"pool-{n:04}", n % 7) for n in range(1000)), exhausted("orders")))

    async def act(pilot: Pilot[None]) -> None:
        await press(pilot, "end", "801 more rows")
        assert names(pilot)[0] != "shop/orders"
        await press(pilot, "home")
        await until(lambda: names(pilot)[0] == "shop/orders")
        await press(pilot, "slash 0 9 9 9")
        await until(lambda: names(pilot) == ["shop/pool-0999"])

    on_screen(many, act)


def test_the_place_in_a_long_list_is_kept() -> None:
    """When the next look comes, and when rows above it are gone."""
    many = view(process(*(pool(f"pool-{n:03}") for n in range(100))))

    async def act(pilot: Pilot[None]) -> None:
        await press(pilot, "down " * 50)
        await until(lambda: "shop/pool-050" in names(pilot))
        later = view(*many.processes, at=NOON + 1)
        show(pilot, later)
        await until(lambda: pilot.app.look.view is later)  # type: ignore[attr-defined]  # it is the application
        await until(lambda: "shop/pool-050" in names(pilot))
        show(pilot, view(process(*(pool(f"pool-{n:03}") for n in range(40, 100)))))
        await until(lambda: "shop/pool-050" in names(pilot) and "60 pools" in text(pilot))

    on_screen(many, act)


def test_the_cursor_stays_where_it_was_moved_just_now() -> None:
    """Rows are drawn anew before the message that it has moved comes."""

    async def act(pilot: Pilot[None]) -> None:
        app = pilot.app
        assert isinstance(app, Top)
        app.table.move_cursor(row=2)
        app.draw()
        assert (app.table.cursor_row, app.sheet.place) == (2, 2)
        await pilot.pause()
        assert (app.table.cursor_row, app.sheet.place) == (2, 2)

    on_screen(FLEET, act)


def test_hostile_names_are_text_on_the_screen() -> None:
    """Markup isn't obeyed, and no escape sequence reaches the terminal."""
    name = "[bold red]x[/]\x1b]0;gone\x07漢字漢字漢字漢字漢字"
    hostile: FleetView = view(process(exhausted(name), service="[b]\x1b[2J", host="[/]"))

    async def act(pilot: Pilot[None]) -> None:
        assert "[b]\\x1b[2J/[bold red]x[/]\\x1b]0;gone\\x07漢字" in text(pilot)
        assert "\x1b" not in text(pilot)

    on_screen(hostile, act)
