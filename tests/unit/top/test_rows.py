"""The rows: grouped, sorted, filtered, and what of them fits."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest

from redpool.fleet.model import FleetView, Owner
from redpool.top.clients import CLIENT_COLUMNS, client_rows
from redpool.top.past import Past
from redpool.top.rows import COLUMNS, DEFAULT_SORT, Column, Grouping, Row, filtered, fitting, rows, sorted_by, words
from redpool.top.shown import Tone
from support.views import client, exhausted, pool, process, server, view

PAGE = (Path(__file__).parents[3] / "docs" / "top.md").read_text(encoding="utf-8")
FLEET = view(
    process(pool("cache", 3, 2), pool("jobs", 1)),
    process(pool("cache", 5), exhausted("mail"), pid=200),
    process(pool("cache", 7, 1), service="api", host="web-2"),
)


def of(seen: FleetView, grouping: Grouping = Grouping.POOL) -> list[Row]:
    past = Past()
    past.note(seen)
    return rows(seen, past, grouping)


def shown(row: Row, heading: str) -> str:
    return next(column.text(row) for column in COLUMNS if column.heading == heading)


@pytest.mark.parametrize(
    ("grouping", "names"),
    [
        (Grouping.POOL, ["api/cache", "shop/cache", "shop/cache", "shop/jobs", "shop/mail"]),
        (Grouping.SERVICE_POOL, ["api/cache", "shop/cache", "shop/jobs", "shop/mail"]),
        (Grouping.PROCESS, ["api", "shop", "shop"]),
        (Grouping.SERVICE, ["api", "shop"]),
    ],
)
def test_groups_lose_nothing(grouping: Grouping, names: list[str]) -> None:
    """Whatever is put together, sums stay the same, and the oldest waiter is seen."""
    found = of(FLEET, grouping)
    assert sorted(row.name for row in found) == names
    assert sum(row.in_use for row in found) == 26
    assert sum(row.max_connections for row in found) == FLEET.max_connections
    assert max(row.oldest_wait for row in found) == 4.2


@pytest.mark.parametrize("heading", [column.heading for column in COLUMNS])
def test_each_column_sorts(heading: str) -> None:
    """The largest on top, or the first name; the other way round on request. The order they came in means nothing."""
    found = of(FLEET)
    column = next(column for column in COLUMNS if column.heading == heading)
    ordered = sorted_by(found, COLUMNS, heading, backwards=False)
    values = [value for row in ordered if (value := column.value(row)) is not None]
    assert values == sorted(values, reverse=not column.is_name)
    Random(7).shuffle(found)
    assert [row.key for row in sorted_by(found, COLUMNS, heading, False)] == [row.key for row in ordered]
    backwards = [value for row in sorted_by(found, COLUMNS, heading, True) if (value := column.value(row)) is not None]
    assert backwards == values[::-1]


def test_the_worst_is_on_top() -> None:
    """Without any key pressed: where a caller waits for longest."""
    first, *others = sorted_by(of(FLEET), COLUMNS, DEFAULT_SORT, backwards=False)
    assert (first.name, first.tone) == ("shop/mail", Tone.BAD)
    assert {row.tone for row in others} == {Tone.PLAIN}
    assert (shown(first, "waiting"), shown(first, "oldest")) == ("2", "4.2 s")


@pytest.mark.parametrize(
    ("text", "number"), [("", 5), ("CACHE", 3), ("cache web-2", 1), ("shop 200", 2), ("nothing", 0)]
)
def test_a_filter_wants_each_word(text: str, number: int) -> None:
    """In whatever case, in any of the names."""
    assert len(filtered(of(FLEET), text, words)) == number


@pytest.mark.parametrize("width", [1, 20, 40, 60, 80, 120, 200])
@pytest.mark.parametrize("columns", [COLUMNS, CLIENT_COLUMNS])
def test_what_is_shown_fits(columns: tuple[Column[Any], ...], width: int) -> None:
    """The name always; the figures that matter most first."""
    found = fitting(columns, width, 20)
    assert found[0] is columns[0]
    assert len(found) == 1 or sum(each.width + 2 for each in found[1:]) + 22 <= width


def test_who_waits_is_seen_on_60_columns() -> None:
    """And how long the first has waited."""
    assert {"in use", "waiting", "oldest", "max"} <= {column.heading for column in fitting(COLUMNS, 59, 24)}


@pytest.mark.parametrize("column", [*COLUMNS, *CLIENT_COLUMNS], ids=lambda column: column.heading)
def test_each_column_says_what_it_means(column: Column[Any]) -> None:
    """In the help, and those of the pools in the docs."""
    assert column.about
    assert column in CLIENT_COLUMNS or f"`{column.heading}`" in PAGE


def test_the_servers_clients_are_those_of_pools_and_of_others() -> None:
    """Each client is in one row."""
    named = {"process": "shop@web-1:100", "pool": "cache"}
    clients = [client(n, Owner.KNOWN, **named) for n in range(3)]
    clients += [client(4, Owner.ORPHANED, process="shop@web-1:99", pool="cache"), client(5, name="cron"), client(6)]
    found = {(row.owner.value, row.name, row.place): len(row.clients) for row in client_rows(server(*clients))}
    assert found == {
        ("known", "shop/cache", "web-1:100"): 3,
        ("orphaned", "shop/cache", "web-1:99"): 1,
        ("foreign", "cron", "10.0.0.5"): 1,
        ("foreign", "redis-py", "10.0.0.6"): 1,
    }
