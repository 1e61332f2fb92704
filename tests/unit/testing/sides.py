"""A scripted pool with redis-py's client over it, by threads and on an event loop, used in one way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

import redpool
import redpool.asyncio
from redpool.testing import Script

OPTIONS: dict[str, Any] = {"socket_timeout": 10.0, "socket_connect_timeout": 10.0}


class Threads:
    """A client that repeats nothing."""

    def __init__(self, script: Script, **options: Any) -> None:
        retry = Retry(NoBackoff(), 0)
        self.pool = redpool.ConnectionPool(connection_class=script.connection, retry=retry, **{**OPTIONS, **options})
        self._client = redis.Redis(connection_pool=self.pool)

    def ask(self, *command: str) -> Any:
        """One command."""
        return self._client.execute_command(*command)

    def ask_many(self, *commands: tuple[str, ...]) -> list[Any]:
        """A pipeline, as one packet."""
        with self._client.pipeline(transaction=False) as pipe:
            for command in commands:
                pipe.execute_command(*command)
            return list(pipe.execute())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.pool.close()


class Loop:
    """The same on an event loop."""

    def __init__(self, script: Script, **options: Any) -> None:
        self._runner = asyncio.Runner()
        connection_class, retry = script.async_connection, AsyncRetry(NoBackoff(), 0)
        self.pool = redpool.asyncio.ConnectionPool(
            connection_class=connection_class, retry=retry, **{**OPTIONS, **options}
        )
        self._client = redis.asyncio.Redis(connection_pool=self.pool)

    def ask(self, *command: str) -> Any:
        async def ask() -> Any:
            return await self._client.execute_command(*command)

        return self._runner.run(ask())

    def ask_many(self, *commands: tuple[str, ...]) -> list[Any]:
        async def ask() -> list[Any]:
            async with self._client.pipeline(transaction=False) as pipe:
                for command in commands:
                    pipe.execute_command(*command)
                return list(await pipe.execute())

        return self._runner.run(ask())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._runner.run(self.pool.aclose())
        self._runner.close()


SIDES: dict[str, Callable[..., Any]] = {"threads": Threads, "loop": Loop}
