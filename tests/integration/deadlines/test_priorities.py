"""`reserved` and `redpool.priority`: the class of a thread or task decides which connections it may have."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import redpool
import redpool.asyncio
from redpool import priority
from support.faces import PATIENCE, Doing, Face, eventually


def test_batch_jobs_leave_the_webs_connections_alone(face: Face, at: dict[str, Any]) -> None:
    """With all that they may have in use, a job waits; the web's calls go on; the job is next when one comes back."""
    pool = face.pool(**at, max_connections=3, reserved={"web": 2}, timeout=PATIENCE)
    client = face.client(pool)

    def job() -> Any:
        with priority("batch"):
            return client.incr("jobs")

    with priority("batch"):
        held = pool.get_connection()
    waiting = Doing(job)
    assert eventually(lambda: pool.stats().waiting == 1)
    with priority("web"):
        assert [client.incr("hits") for _ in range(3)] == [1, 2, 3]
    assert not waiting.done
    pool.release(held)
    assert waiting.result() == 1


def test_a_task_takes_its_class_along(at: dict[str, Any]) -> None:
    """As a decorator of coroutine functions, too; of two that are nested the inner one counts."""

    @priority("batch")
    async def job(pool: redpool.asyncio.ConnectionPool, names: list[str]) -> None:
        async with pool.connection() as connection:
            names.append(connection._redpool.slot.priority)
        async with priority("mail"), pool.connection() as connection:
            names.append(connection._redpool.slot.priority)

    async def main() -> list[str]:
        names: list[str] = []
        async with redpool.asyncio.ConnectionPool(**at, max_connections=3, reserved={"web": 1}) as pool:
            await asyncio.create_task(job(pool, names))
            async with pool.connection() as connection:
                names.append(connection._redpool.slot.priority)
        return names

    assert asyncio.run(main()) == ["batch", "mail", "default"]


def test_a_dump_shows_the_classes(face: Face, at: dict[str, Any]) -> None:
    """So that one is seen that was misspelled, or never came."""
    pool = face.pool(**at, reserved={"web": 1})
    with priority("wbe"):
        face.client(pool).ping()
    assert "class 'web': 1 reserved, 0 callers so far" in str(pool.dump())
    assert "class 'wbe': 0 reserved, 1 callers so far" in str(pool.dump())
    assert face.pool(**at).dump().classes == ()


def test_a_class_is_named_properly() -> None:
    """By a string that says something; and one object opens one block at a time."""
    with pytest.raises(TypeError, match="name=3: must be a string"):
        priority(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="name=''"):
        priority("")
    with priority("web") as block, pytest.raises(RuntimeError, match="one block at a time"):
        block.__enter__()
    with pytest.raises(TypeError, match="generator function"):
        priority("web")(lambda: (yield))
