"""The pools of a process: which there are, where they were made, and when they are suspiciously many."""

from __future__ import annotations

import gc
from typing import Any

import pytest

import redpool
import redpool.asyncio
from redpool import registry
from support.collecting import while_collecting
from support.faces import Face


def made(**options: Any) -> list[Any]:
    """Return a pool of each kind."""
    kinds = (redpool.ConnectionPool, redpool.asyncio.ConnectionPool, redpool.MultiplexedConnectionPool)
    return [kind(**options) for kind in kinds]


def of(server: str) -> list[registry.LivingPool]:
    gc.collect()
    return [each for each in redpool.pools() if each.server == server]


def test_the_pools_of_a_process_are_found() -> None:
    """In the order in which they were made, whatever their kind and their name, each with the line that made it."""
    pools = made(host="found", name="mine")
    found = of("found:6379/0")
    assert [each.pool for each in found] == pools
    assert [each.name for each in found] == ["mine"] * 3
    assert [each.number for each in found] == sorted({each.number for each in found})
    assert all(each.age >= 0 and f'File "{__file__}"' in each.made_at for each in found)
    assert all(each.made_at.endswith("in made") or "<listcomp>" in each.made_at for each in found)


def test_a_pool_that_is_gone_is_not_found() -> None:
    """Nothing here keeps it."""
    pools = made(host="gone")
    pools.pop()
    assert len(of("gone:6379/0")) == 2


def test_pools_are_listed_while_others_are_collected() -> None:
    """Nor is any missed that is still there."""
    pools = [redpool.ConnectionPool(host="collected") for _ in range(100)]
    kept = pools.pop(0)

    def look() -> None:
        assert kept in [each.pool for each in redpool.pools()]

    while_collecting(lambda: pools and pools.pop(), look)
    assert pools == []


def test_the_pool_of_a_client_is_made_by_the_line_that_makes_the_client() -> None:
    """Not by redis-py's code, or redpool's."""
    client = redpool.Redis(host="client")
    assert __file__ in of("client:6379/0")[0].made_at
    client.close()


def test_many_pools_of_one_server_are_suspicious() -> None:
    """Not as many of several, and not twenty."""
    kept = [redpool.ConnectionPool(host="crowded", db=db) for db in (0, 1) for _ in range(20)]
    assert registry.crowd_advice(kept[0]) == ""
    kept.append(redpool.ConnectionPool(host="crowded"))
    said = registry.crowd_advice(kept[0])
    assert said.startswith("this process has 21 pools of crowded:6379/0, and made 21 within the last minute, ")
    assert __file__ in said
    assert registry.crowd_advice(kept[20]) == ""
    assert registry.crowd_advice(object()) == ""


@pytest.mark.parametrize(("apart", "then", "suspicious"), [(1.0, 0.0, True), (0.0, 5.0, False), (10.0, 0.0, False)])
def test_pools_made_one_after_the_other_are_suspicious(
    monkeypatch: pytest.MonkeyPatch, apart: float, then: float, suspicious: bool
) -> None:
    """Though they are gone; not those made at once, as when a program starts, and not a few in a long time."""
    now = 1000.0
    monkeypatch.setattr(registry, "_monotonic", lambda: now)
    for _ in range(40):
        pool = redpool.ConnectionPool(host=f"steady{apart}")
        now += apart
    now += then
    gc.collect()
    said = registry.crowd_advice(pool)
    assert said.startswith(f"this process has 1 pool of steady{apart}:6379/0, and made 40 ") is suspicious
    assert bool(said) is suspicious


def test_a_caller_that_has_waited_in_vain_hears_of_it(any_face: Face, at: dict[str, Any]) -> None:
    """Its error says how many pools there are, and where they were made."""
    kept = [any_face.pool(**at, max_connections=1, timeout=0) for _ in range(21)]
    with kept[0].connection(), pytest.raises(redpool.PoolTimeout, match=r"\d\d pools of .* most of them here: File"):
        kept[0].get_connection()
