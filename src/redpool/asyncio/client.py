"""redis-py's client for event loops, with a shorter way for commands and pipelines that may share a connection."""

from __future__ import annotations

import inspect
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Self, Unpack, overload

import redis.asyncio.client as aio
from redis.exceptions import ReadOnlyError, ResponseError

from ..deadline import current
from ..redispy import clients, internals, packing, recording
from ..redispy.keywords import LoopClientOptions, LoopClientUrlOptions, SharedLoopUrlOptions
from ..redispy.packing import EMPTY_RESPONSE, NEVER_DECODE
from ..redispy.recording import MOST
from ..redispy.retry import Failed
from ..wire.commands import PLAIN, shares
from ..wire.pipeline import Request
from .multiplexed import MultiplexedConnectionPool

_monotonic = time.monotonic
_get = dict.get
_watched = clients.Watched(aio.Redis, aio.Pipeline)
_USUAL = packing.USUAL
_recorder, _theirs, _execute, _parse = internals.RECORDER, _watched.client, _watched.execute, _watched.parse


def look_again() -> None:
    """Learn redis-py's methods anew, after a look-out of our own was put around them, or taken away."""
    global _execute  # noqa: PLW0603  a name of the module, since this is the hot path
    _watched.look_again()
    _execute = _watched.execute


class Redis(clients.ShortcutClient, aio.Redis):  # type: ignore[misc]  # redis-py's own bases disagree
    """redis-py's `redis.asyncio.Redis` over shared connections; every command and option of it works.

    Without a `connection_pool` it creates a `redpool.asyncio.MultiplexedConnectionPool`, and takes that pool's options
    beside redis-py's: `redpool.asyncio.Redis(host="localhost", shared_connections=2, timeout=1.0)`.
    """

    _pool_class = MultiplexedConnectionPool

    def __init__(self, **kwargs: Unpack[LoopClientOptions]) -> None:
        own, options = None, dict[str, Any](kwargs)
        closes = options.get("auto_close_connection_pool") is not False
        if not options.get("connection_pool"):
            own = clients.make_pool(_theirs, MultiplexedConnectionPool, (), options)
            options = {"connection_pool": own, **clients.beside_pool(options)}
        super().__init__(**options)
        if own is not None:
            self.auto_close_connection_pool = closes
        self._find_way()

    @overload  # type: ignore[override]  # it refuses what would fail
    @classmethod
    def from_url(
        cls,
        url: str,
        single_connection_client: bool = ...,
        auto_close_connection_pool: bool | None = ...,
        **kwargs: Unpack[SharedLoopUrlOptions],
    ) -> Self: ...
    @overload
    @classmethod
    def from_url(cls, url: str, *, connection_class: Callable[..., Any], **kwargs: Any) -> Self: ...
    @classmethod
    def from_url(
        cls,
        url: str,
        single_connection_client: bool = False,
        auto_close_connection_pool: bool | None = None,
        **kwargs: Any,
    ) -> Self:
        """Return a client for the server at `url`; keywords and the URL's query may have the pool's options, too."""
        pool = MultiplexedConnectionPool.from_url(url, **kwargs)
        client = cls(connection_pool=pool, single_connection_client=single_connection_client)
        client.auto_close_connection_pool = auto_close_connection_pool is not False
        return client

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Execute a command and return its reply, as in redis-py."""
        name = args[0]
        pool = self._way
        multiplexed = pool.multiplexed
        if (
            name not in self._ordinary
            or not pool.sharing
            or _theirs.execute_command is not _execute  # as `Watched` says, spelled out: this is the hot path
            or _theirs.parse_response is not _parse
            or NEVER_DECODE in options
            or current() is not None
        ):
            return await self._execute(args, options)
        started = None if _recorder._provider_manager is None else _monotonic()
        if (future := multiplexed.ask(args)) is None:
            return await self._execute(args, options)
        connection = multiplexed.turn or multiplexed.only
        try:
            reply = await future
        except BaseException:
            multiplexed.left(future)
            raise
        if type(reply) not in _USUAL and (type(reply) is not list or packing.is_lost(reply)):
            box = [reply]
            del reply, future  # else an error and this frame, which holds the pool, would keep each other
            if started is not None:
                return await self._recorded(pool, connection, args, options, box, _tries(name, pool, started))
            return await self._see_to(pool, connection, args, options, box)
        callback = _get(self.response_callbacks, name)
        if started is None:
            return reply if callback is None else await _called(callback, reply, options)
        if callback is not None:
            reply = await _recorded_callback(callback, reply, options, _tries(name, pool, started))
        commands = connection.commands
        if (
            commands is None
            or commands.manager is not _recorder._provider_manager
            or commands.context()
            or len(durations := commands[name]) >= MOST
        ):
            _note(pool, name, _monotonic() - started)
        else:  # in most cases, and without a call
            durations.append(_monotonic() - started)
        return reply

    async def _execute(self, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Execute a command that is no ordinary call, or for which there is no way yet."""
        pool = self.connection_pool
        if (
            pool is not self._shared_pool
            or not (args[0] in self._names or shares(args))
            or not (pool.sharing or pool.may_share())
            or _replaced()
        ):
            return await super().execute_command(*args, **options)
        if _recorder._provider_manager is not None:
            return await self._recorded_try(pool, args, options, _tries(args[0], pool, _monotonic()))
        return await self._try(pool, args, options)

    async def _recorded(
        self,
        pool: Any,
        connection: Any,
        args: tuple[Any, ...],
        options: dict[str, Any],
        box: list[Any],
        tries: recording.Tries,
    ) -> Any:
        try:
            made = await self._see_to(pool, connection, args, options, box, tries.failed_async)
        except Exception as error:
            tries.ended(error)
            raise
        tries.ended()
        return made

    async def _recorded_try(
        self, pool: Any, args: tuple[Any, ...], options: dict[str, Any], tries: recording.Tries
    ) -> Any:
        try:
            made = await self._try(pool, args, options, tries.failed_async)
        except Exception as error:
            tries.ended(error)
            raise
        tries.ended()
        return made

    async def _try(
        self, pool: Any, args: tuple[Any, ...], options: dict[str, Any], failed: Failed | None = None
    ) -> Any:
        data, decode = packing.pack(args), NEVER_DECODE not in options
        try:
            reply = await _ask(pool, args, data, decode)
        except Exception as error:
            return await self._again(pool, error, args, options, failed)
        return await self._made(args, reply, options)

    async def _see_to(
        self,
        pool: Any,
        connection: Any,
        args: tuple[Any, ...],
        options: dict[str, Any],
        box: list[Any],
        failed: Failed | None = None,
    ) -> Any:
        """Return what the caller of an ordinary call gets whose future has brought no plain reply."""
        reply = box.pop()
        try:
            if type(reply) is Request:
                reply = await pool.multiplexed_here().settle(reply)
            if isinstance(reply, ReadOnlyError):
                reply = await pool.multiplexed_here().refused(connection, args, reply)
            reply = packing.reply(reply)
        except Exception as error:
            reply = None
            return await self._again(pool, error, args, options, failed)
        return await self._made(args, reply, options)

    async def _again(
        self, pool: Any, error: Exception, args: tuple[Any, ...], options: dict[str, Any], failed: Failed | None = None
    ) -> Any:
        """Try again where the retry policy says so, after a first try that has failed."""
        data, decode = packing.pack(args), NEVER_DECODE not in options
        try:
            reply = await pool.retry_guard.after(error, lambda: _ask(pool, args, data, decode), failed)
        except ResponseError:
            if EMPTY_RESPONSE in options:
                return options[EMPTY_RESPONSE]
            raise
        finally:
            del error  # else it and this frame, which holds the pool, would keep each other
        return await self._made(args, reply, options)

    async def _made(self, args: tuple[Any, ...], reply: Any, options: dict[str, Any]) -> Any:
        name = args[0]
        callback = _get(self.response_callbacks, name if name in PLAIN else str(name).upper())
        return reply if callback is None else await _called(callback, reply, options)

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> Pipeline:
        """Return a pipeline, as in redis-py."""
        return Pipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)


def from_url(url: str, **options: Unpack[LoopClientUrlOptions]) -> Redis:
    """Return a client for the server at `url`, as `Redis.from_url` does; redis-py has a function like it."""
    return Redis.from_url(url, **options)


async def _ask(pool: Any, commands: Any, data: bytes, decode: bool) -> Any:
    request = Request(commands, data, 0, decode)
    reply = await pool.multiplexed_here().execute(request, current())
    try:
        if isinstance(reply, ReadOnlyError) and pool.starts_over(request):
            reply = await pool.multiplexed_here().execute(request.again(), current())
        return packing.reply(reply)
    finally:
        del reply, request  # else an error and this frame, which holds the pool, would keep each other


async def _recorded_callback(callback: Any, reply: Any, options: dict[str, Any], tries: recording.Tries) -> Any:
    try:
        return await _called(callback, reply, options)
    except Exception as error:
        tries.ended(error)
        raise


async def _called(callback: Any, reply: Any, options: dict[str, Any]) -> Any:
    made = packing.called(callback, reply, options)
    return await made if inspect.isawaitable(made) else made


def _replaced() -> bool:
    """Return whether a method of redis-py's client is replaced."""
    return _theirs.execute_command is not _execute or _theirs.parse_response is not _parse


def _tries(name: str, pool: Any, started: float) -> recording.Tries:
    """Return what records the tries of a call."""
    return recording.Tries(name, started, partial(_commands_of, pool), pool.retry_guard)


def _note(pool: Any, name: str, duration: float) -> None:
    commands = _commands_of(pool)
    if commands is not None:
        commands.note(name, duration)


def _commands_of(pool: Any) -> recording.Commands | None:
    return recording.commands_of(pool.multiplexed, pool._template, True)


class Pipeline(clients.ShortcutPipeline, aio.Pipeline):  # type: ignore[misc]  # the same
    """redis-py's pipeline; one that may share goes out in one piece, among other callers' commands."""

    _pool_class = MultiplexedConnectionPool

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Execute the queued commands and return their replies, as in redis-py."""
        stack = self.command_stack
        commands = [args for args, _ in stack]
        transaction = self.is_transaction or self.explicit_transaction
        if not self._may_share(stack, commands) or _watched.others_look():
            return await super().execute(raise_on_error)
        if transaction:
            commands = [("MULTI",), *commands, ("EXEC",)]
        data = packing.pack_all(commands)
        make = packing.transaction if transaction else packing.pipeline

        async def ask() -> list[Any]:
            request = Request(commands, data, len(commands))
            replies = await self.connection_pool.multiplexed_here().execute(request, current())
            results = self._made(make, stack, replies, raise_on_error)
            if any(hasattr(kind, "__await__") for kind in set(map(type, results))):  # a callback's, as in redis-py
                results = [await each if inspect.isawaitable(each) else each for each in results]
            return results

        try:
            made: list[Any] = await self._execute(ask, "MULTI" if transaction else "PIPELINE")
            return made
        finally:
            await self.reset()

    async def _execute(self, ask: Callable[[], Awaitable[list[Any]]], name: str) -> Any:
        pool = self.connection_pool
        if _recorder._provider_manager is None:
            return await pool.retry_guard.attempt(ask)
        tries = _tries(name, pool, _monotonic())
        try:
            made = await pool.retry_guard.attempt(ask, tries.failed_async)
        except Exception as error:
            tries.ended(error)
            raise
        tries.ended()
        return made
