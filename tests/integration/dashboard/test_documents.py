"""What a page shows, and what has changed since."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redpool.dashboard.documents import LIMIT, POOLS, Scene, Topic, document, past, row
from redpool.dashboard.patches import merged, patch
from support.fleets import MadeUpFleet, MadeUpPool, MadeUpProcess, shop

NAMES = st.sampled_from(["a", "b", "c", "__proto__"])
LEAVES = st.integers(0, 3) | st.text(max_size=2) | st.lists(st.integers(0, 3), max_size=2)
DOCUMENTS = st.dictionaries(NAMES, LEAVES | st.dictionaries(NAMES, LEAVES | st.dictionaries(NAMES, LEAVES)))

FLEET = Topic()
CARTS = Topic("pool", "checkout", "carts")


def looked_at(fleet: MadeUpFleet, looks: int = 3) -> Scene:
    return Scene.of([fleet.read() for _ in range(looks)])


def figures(found: list[Any]) -> dict[str, Any]:
    return dict(zip(POOLS, found, strict=True))


@settings(max_examples=60, database=None, deadline=None)
@given(DOCUMENTS, DOCUMENTS)
def test_a_patch_makes_the_new_document_of_the_old_one(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Whatever has come, gone or changed; and it is empty where nothing has."""
    assert merged(before, patch(before, after)) == after
    assert patch(after, after) == {}


@pytest.mark.parametrize(
    "topic", [FLEET, Topic("service", "checkout"), CARTS, Topic("pool", "gone", "gone"), Topic("server")]
)
def test_no_document_holds_a_null(topic: Topic) -> None:
    """A patch would take it for a removal. Every page begins with the same head."""
    shown = document(topic, looked_at(shop()))
    assert "null" not in json.dumps(shown)
    assert shown["head"]["pools"] == 9


def test_a_pool_is_added_up_over_its_processes() -> None:
    """Counts are sums, the oldest wait is the longest, quantiles are those of all waits together."""
    fleet = shop()
    scene = looked_at(fleet)
    carts = [process.pools[0] for process in fleet.processes if process.service == "checkout"]
    shown = document(CARTS, scene)["pool"]
    assert shown["max"] == 30
    assert shown["in_use"] == sum(pool.in_use for pool in carts)
    assert shown["oldest"] == max(pool.oldest for pool in carts)
    assert shown["totals"]["acquired"] == sum(pool.counters["acquired"] for pool in carts)
    one = document(Topic("pool", "checkout", "carts", "checkout@web-1:4100"), scene)
    assert list(one["members"]) == ["checkout@web-1:4100"]


def test_what_happened_counts_from_the_look_before() -> None:
    """A row has what was counted since then; a pool that has not reported since adds no row."""
    fleet = shop()
    views = [fleet.read()]
    before = [process.pools[0].counters.copy() for process in fleet.processes[:3]]
    views.append(fleet.read())
    grown = [process.pools[0].counters - old for process, old in zip(fleet.processes, before, strict=False)]
    found = row(CARTS, Scene.of(views))
    assert found is not None
    assert figures(found)["acquired"] == sum(each["acquired"] for each in grown)
    assert sum(figures(found)["waits"]) > 0
    assert row(CARTS, Scene.of([*views, views[-1]])) is None
    assert row(CARTS, Scene.of(views[:1])) is None


def test_a_process_that_comes_or_goes_adds_nothing_of_its_past() -> None:
    """What it had counted before the first look at it happened at any time; a new process has no such past."""
    fleet = shop()
    away = fleet.processes.pop(0)
    first = fleet.read()
    away.pools[0].counters["acquired"] = 10**9
    fleet.processes.insert(0, away)
    new = MadeUpProcess("checkout", 1, [MadeUpPool("new", demand=3)], started=fleet.at + 0.5)
    fleet.processes.append(new)
    scene = Scene.of([first, fleet.read()])
    found = row(FLEET, scene)
    assert found is not None
    assert figures(found)["acquired"] < 10**8
    assert row(Topic("pool", "checkout", "new"), scene) is not None


def test_a_counter_that_began_again_is_not_negative() -> None:
    """A pool with the same name, of a process with the same id, counts from 0."""
    fleet = shop()
    views = [fleet.read(), fleet.read()]
    for process in fleet.processes:
        for pool in process.pools:
            pool.counters.clear()
    found = row(FLEET, Scene.of([*views, fleet.read()]))
    assert found is not None
    assert min(value for value in found if isinstance(value, int | float)) >= 0


def test_the_past_comes_from_the_history() -> None:
    """In steps, each with all processes; never newer than the present, however late the reader's clock is."""
    fleet = shop(minutes=2)
    view = fleet.view()
    rows = past(CARTS, view)
    assert 20 <= len(rows) <= 30
    assert rows == sorted(rows)
    assert rows[-1][0] <= view.at
    assert all(figures(each)["max"] == 30 for each in rows)
    del fleet.processes[0]  # its samples are still there
    assert {figures(each)["max"] for each in past(CARTS, fleet.view())} == {30}
    object.__setattr__(view, "at", view.at - 60)
    assert past(CARTS, view)[-1][0] <= view.at
    assert len(rows) <= LIMIT


def test_a_pool_that_is_gone_is_said_to_be() -> None:
    """Its page says so, and what is known of the fleet stays."""
    shown = document(Topic("pool", "checkout", "closed"), looked_at(shop()))
    assert shown["gone"]
    assert "pool" not in shown


def test_the_servers_clients_are_counted_by_owner() -> None:
    """Those that a reader should look at come first, and no more of them than a page can show."""
    fleet = shop()
    fleet.orphaned, fleet.foreign = 3, 500
    shown = document(Topic("server"), looked_at(fleet))
    assert shown["owners"]["orphaned"] == 3
    assert shown["owners"]["foreign"] == 500
    assert [client["owner"] for client in shown["clients"][:4]] == ["orphaned"] * 3 + ["foreign"]
    assert len(shown["clients"]) == 200
    assert sum(group["clients"] for group in shown["groups"].values()) == sum(shown["owners"].values())


@pytest.mark.parametrize("asked", [("nonsense",), ("pool", "x" * 3000)])
def test_a_page_that_is_not_there_is_refused(asked: tuple[str, ...]) -> None:
    """With what there is."""
    with pytest.raises(ValueError, match=r"page|name"):
        Topic(*asked)
