"""What users do with a pool, spelled alike for both shells."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import redpool
import redpool.asyncio
from redpool.testing import Script

PATIENCE = 20.0  # seconds


class Users(ABC):
    """Callers that use one pool; they hold what `checkout` returns until they release it or drop it."""

    can_cancel = True
    pool: Any

    def __init__(self, script: Script, size: int) -> None:
        self.script = script
        self.options: dict[str, Any] = {"max_connections": size, "timeout": PATIENCE, "socket_timeout": PATIENCE}

    @abstractmethod
    def checkout(self) -> Any:
        """A connection; one is to be had."""

    @abstractmethod
    def wait(self) -> Any:
        """A caller that waits for a connection."""

    @abstractmethod
    def received(self, waiter: Any) -> Any:
        """What it waited for."""

    @abstractmethod
    def cancel(self, waiter: Any) -> None:
        """It goes away."""

    @abstractmethod
    def ask(self, connection: Any, token: str) -> Any:
        """ECHO."""

    @abstractmethod
    def send(self, connection: Any) -> None:
        """Send something, and don't wait for the reply."""

    @abstractmethod
    def release(self, connection: Any) -> None:
        """Give it back."""

    @abstractmethod
    def disconnect(self) -> None:
        """Cut all of the pool's connections."""

    @abstractmethod
    def pass_time(self) -> None:
        """Let others go on."""

    @abstractmethod
    def close(self) -> None:
        """Close the pool."""

    def release_twice(self, connection: Any) -> None:
        """Release what was released before."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self.release(connection)
        assert [each.category for each in caught] == [RuntimeWarning]

    def eventually(self, condition: Callable[[], object]) -> bool:
        """Whether it comes true."""
        end = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > end:
                return False
            gc.collect()
            self.pass_time()
        return True


class Threads(Users):
    """The shell for threads. No thread can be cancelled in a queue."""

    can_cancel = False

    def __init__(self, script: Script, size: int) -> None:
        super().__init__(script, size)
        self.pool = redpool.ConnectionPool(connection_class=script.connection, **self.options)

    def checkout(self) -> Any:
        return self.pool.get_connection()

    def wait(self) -> Any:
        got: list[Any] = []
        thread = threading.Thread(target=lambda: got.append(self.pool.get_connection()), daemon=True)
        thread.start()
        return thread, got

    def received(self, waiter: Any) -> Any:
        thread, got = waiter
        thread.join(PATIENCE)
        return got.pop()

    def cancel(self, waiter: Any) -> None:
        raise NotImplementedError

    def ask(self, connection: Any, token: str) -> Any:
        connection.send_command("ECHO", token)
        return connection.read_response()

    def send(self, connection: Any) -> None:
        connection.send_command("ECHO", "unread")

    def release(self, connection: Any) -> None:
        self.pool.release(connection)

    def disconnect(self) -> None:
        self.pool.disconnect()

    def pass_time(self) -> None:
        time.sleep(0.001)

    def close(self) -> None:
        self.pool.shutdown(timeout=0, force=True)


class Tasks(Users):
    """The shell for event loops."""

    def __init__(self, script: Script, size: int) -> None:
        super().__init__(script, size)
        self._runner = asyncio.Runner()
        self.pool = redpool.asyncio.ConnectionPool(connection_class=script.async_connection, **self.options)

    def checkout(self) -> Any:
        got: list[Any] = []
        self._runner.run(self._take(got))
        return got.pop()

    async def _take(self, got: list[Any]) -> None:
        got.append(await self.pool.get_connection())

    def wait(self) -> Any:
        got: list[Any] = []

        async def start() -> asyncio.Task[None]:
            return asyncio.create_task(self._take(got))

        return self._runner.run(start()), got

    def received(self, waiter: Any) -> Any:
        task, got = waiter

        async def end() -> None:
            await asyncio.wait_for(task, PATIENCE)

        self._runner.run(end())
        return got.pop()

    def cancel(self, waiter: Any) -> None:
        task, _ = waiter
        task.cancel()
        self.pass_time()
        assert task.cancelled()

    def ask(self, connection: Any, token: str) -> Any:
        async def ask() -> Any:
            await connection.send_command("ECHO", token)
            return await connection.read_response()

        return self._runner.run(ask())

    def send(self, connection: Any) -> None:
        async def send() -> None:
            await connection.send_command("ECHO", "unread")

        self._runner.run(send())

    def release(self, connection: Any) -> None:
        async def release() -> None:
            await self.pool.release(connection)

        self._runner.run(release())

    def disconnect(self) -> None:
        async def disconnect() -> None:
            await self.pool.disconnect()

        self._runner.run(disconnect())

    def pass_time(self) -> None:
        self._runner.run(asyncio.sleep(0.001))

    def close(self) -> None:
        async def close() -> None:
            await self.pool.shutdown(timeout=0, force=True)
            await asyncio.sleep(0)

        self._runner.run(close())
        self._runner.close()
