"""What type checkers must find fault with: each line that is marked, and for no other reason than the marked one.

Nothing here runs. A mark that no error needs is an error itself, for mypy and for pyright.
"""

from __future__ import annotations

import redpool
import redpool.asyncio


def names() -> None:
    """A misspelled name is none of ours."""
    redpool.ConectionPool  # type: ignore[attr-defined]  # noqa: B018  # it is ConnectionPool
    redpool.asyncio.ConectionPool  # type: ignore[attr-defined]  # noqa: B018  # the same


def arguments(pool: redpool.ConnectionPool) -> None:
    """Arguments have types."""
    redpool.ConnectionPool(max_connections="many")  # type: ignore[arg-type]  # a number
    redpool.deadline("soon")  # type: ignore[arg-type]  # a number
    redpool.deadline()  # type: ignore[call-arg]  # of how long?
    pool.resize("20")  # type: ignore[arg-type]  # a number
    pool.warm_up(timeout="1")  # type: ignore[arg-type]  # a number
    pool.shutdown(forced=True)  # type: ignore[call-arg]  # it is `force`


def results(pool: redpool.ConnectionPool) -> None:
    """Results have types, and can't be changed."""
    pool.stats().opened  # type: ignore[attr-defined]  # noqa: B018  # it is `open`
    pool.stats().in_flight  # type: ignore[attr-defined]  # noqa: B018  # only a shared pool has it
    pool.stats().open = 1  # type: ignore[misc]  # it is frozen
    pool.max_connections = 20  # type: ignore[misc]  # it is `resize` that changes it


async def waiting(pool: redpool.asyncio.ConnectionPool, client: redpool.asyncio.Redis) -> None:
    """What waits must be awaited, and by the `with` that it is made for."""
    pool.warm_up(2)  # type: ignore[unused-coroutine]  # not awaited
    pool.shutdown()  # type: ignore[unused-coroutine]  # not awaited
    with pool.connection():  # type: ignore[attr-defined]  # it is `async with`
        pass


@redpool.deadline(1.0)
def bounded(key: str) -> None:
    """A deadline leaves a function's arguments as they are."""


def calls() -> None:
    """So they are checked."""
    bounded(1)  # type: ignore[arg-type]  # it is a string


class Watch(redpool.Instrument):
    """Hooks get what they get."""

    def acquired(self, pool: str) -> None:  # type: ignore[override]  # `wait` is missing
        """Count."""

    def released(self, pool: int, use: float) -> None:  # type: ignore[override]  # `pool` is a name
        """Count."""
