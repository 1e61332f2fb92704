"""redis-py's client for threads, with a shorter way for commands and pipelines that may share a connection."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, Self, Unpack, overload

import redis.client
from redis.client import EMPTY_RESPONSE, NEVER_DECODE
from redis.exceptions import ReadOnlyError, ResponseError

from ..deadline import current
from ..redispy import clients, internals, packing, recording
from ..redispy.keywords import ClientOptions, ClientUrlOptions
from ..redispy.retry import Failed
from ..wire.commands import PLAIN, shares
from ..wire.pipeline import Request
from .connections import ELSEWHERE, Reentered
from .multiplexed import MultiplexedConnectionPool

_monotonic = time.monotonic
_get = dict.get
_watched = clients.Watched(redis.client.Redis, redis.client.Pipeline)
_USUAL = packing.USUAL
_recorder, _theirs, _execute, _parse = internals.RECORDER, _watched.client, _watched.execute, _watched.parse


def look_again() -> None:
    """Learn redis-py's methods anew, after a look-out of our own was put around them, or taken away."""
    global _execute  # noqa: PLW0603  a name of the module, since this is the hot path
    _watched.look_again()
    _execute = _watched.execute


class Redis(clients.ShortcutClient, redis.client.Redis):
    """redis-py's `redis.Redis` over shared connections; every command and option of it works.

    Without a `connection_pool` it creates a `redpool.MultiplexedConnectionPool`, and takes that pool's options beside
    redis-py's: `redpool.Redis(host="localhost", shared_connections=2, timeout=1.0)`.
    """

    _pool_class = MultiplexedConnectionPool

    def __init__(self, *args: Any, **kwargs: Unpack[ClientOptions]) -> None:
        own, options = None, dict[str, Any](kwargs)
        if not options.get("connection_pool") and len(args) <= clients.PLACE_OF_POOL:
            own = clients.make_pool(_theirs, MultiplexedConnectionPool, args, options)
            args, options = (), {"connection_pool": own, **clients.beside_pool(options)}
        super().__init__(*args, **options)
        if own is not None:
            self.auto_close_connection_pool = True
        self._find_way()

    def __enter__(self) -> Self:
        return self

    @overload  # type: ignore[override]  # it refuses what would fail
    @classmethod
    def from_url(cls, url: str, **kwargs: Unpack[ClientUrlOptions]) -> Self: ...
    @overload
    @classmethod
    def from_url(cls, url: str, *, connection_class: Callable[..., Any], **kwargs: Any) -> Self: ...
    @classmethod
    def from_url(cls, url: str, **kwargs: Any) -> Self:
        """Return a client for the server at `url`; keywords and the URL's query may have the pool's options, too."""
        single = kwargs.pop("single_connection_client", False)
        client = cls(connection_pool=MultiplexedConnectionPool.from_url(url, **kwargs), single_connection_client=single)
        client.auto_close_connection_pool = True
        return client

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Execute a command and return its reply, as in redis-py."""
        name = args[0]
        if (
            name not in self._ordinary
            or not (pool := self._way).sharing
            or _recorder._provider_manager is not None
            or _theirs.execute_command is not _execute  # as `Watched` says, spelled out: this is the hot path
            or _theirs.parse_response is not _parse
            or NEVER_DECODE in options
        ):
            return self._execute(args, options)
        multiplexed = pool._engine.multiplexed
        connection = multiplexed.only
        try:
            reply = multiplexed.ask(connection, args)
            if type(reply) not in _USUAL:
                box = [reply]
                del reply  # else an error and this frame, which holds the pool, would keep each other
                reply = _plain(multiplexed, connection, args, box)
        except Exception as error:
            return self._again(error, args, options)
        if reply is ELSEWHERE:
            return self._execute(args, options)
        callback = _get(self.response_callbacks, name)
        return reply if callback is None else packing.called(callback, reply, options)

    def _execute(self, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Execute a command that is no ordinary call, or for which there is no way yet."""
        pool = self.connection_pool
        if (
            pool is not self._shared_pool
            or not (args[0] in self._names or shares(args))
            or not (pool.sharing or pool.may_share())
            or _watched.others_look()
        ):
            return super().execute_command(*args, **options)
        try:
            if _recorder._provider_manager is not None:
                return self._recorded(args, options)
            return self._try(args, options)
        except Reentered:
            return super().execute_command(*args, **options)

    def _recorded(self, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Execute a command as `execute_command` and `_execute` do, and record what redis-py's recorder records."""
        started, name, pool = _monotonic(), args[0], self.connection_pool
        multiplexed = pool._engine.multiplexed
        connection = multiplexed.only
        try:
            reply = (
                ELSEWHERE
                if name not in self._ordinary or NEVER_DECODE in options
                else multiplexed.ask(connection, args)
            )
            if reply is ELSEWHERE:
                reply = self._ask(args, packing.pack(args), NEVER_DECODE not in options)
            elif type(reply) not in _USUAL:
                box = [reply]
                del reply  # as above
                reply = _plain(multiplexed, connection, args, box)
        except Reentered:
            raise  # what is done then records it
        except Exception as error:
            return self._recorded_again(error, args, options, _tries(name, pool, started))
        try:
            made = self._made(args, reply, options)
        except Exception as error:
            _tries(name, pool, started).ended(error)
            raise
        commands = None if connection is None else connection.commands
        if commands is None or commands.manager is not _recorder._provider_manager:
            commands = _commands_of(pool)
        if commands is not None:
            commands.note(name, _monotonic() - started)
        return made

    def _recorded_again(
        self, error: Exception, args: tuple[Any, ...], options: dict[str, Any], tries: recording.Tries
    ) -> Any:
        try:
            made = self._try_again(error, args, options, tries.failed)
        except Reentered:
            raise
        except Exception as last:
            tries.ended(last)
            raise
        finally:
            del error  # as above
        tries.ended()
        return made

    def _try(self, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        data, decode = packing.pack(args), NEVER_DECODE not in options
        try:
            reply = self._ask(args, data, decode)
        except Reentered:
            raise
        except Exception as error:
            return self._try_again(error, args, options, None)
        return self._made(args, reply, options)

    def _again(self, error: Exception, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Try an ordinary call again where the retry policy says so, after a first try that has failed."""
        try:
            return self._try_again(error, args, options, None)
        except Reentered:
            return super().execute_command(*args, **options)
        finally:
            del error  # as below

    def _try_again(
        self, error: Exception, args: tuple[Any, ...], options: dict[str, Any], failed: Failed | None
    ) -> Any:
        data, decode = packing.pack(args), NEVER_DECODE not in options
        try:
            reply = self.connection_pool.retry_guard.after(error, lambda: self._ask(args, data, decode), failed)
        except ResponseError:
            if EMPTY_RESPONSE in options:
                return options[EMPTY_RESPONSE]
            raise
        finally:
            del error  # else it and this frame, which holds the pool, would keep each other
        return self._made(args, reply, options)

    def _made(self, args: tuple[Any, ...], reply: Any, options: dict[str, Any]) -> Any:
        name = args[0]
        callback = _get(self.response_callbacks, name if name in PLAIN else str(name).upper())
        return reply if callback is None else packing.called(callback, reply, options)

    def _ask(self, commands: Any, data: bytes, decode: bool) -> Any:
        pool, request = self.connection_pool, Request(commands, data, 0, decode)
        reply = pool._engine.multiplexed.execute(request, current())
        if type(reply) in packing.USUAL:
            return reply
        try:
            if isinstance(reply, ReadOnlyError) and pool.starts_over(request):
                reply = pool._engine.multiplexed.execute(request.again(), current())
            return packing.reply(reply)
        finally:
            del reply, request  # else an error and this frame, which holds the pool, would keep each other

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> Pipeline:
        """Return a pipeline, as in redis-py."""
        return Pipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)


def from_url(url: str, **options: Unpack[ClientUrlOptions]) -> Redis:
    """Return a client for the server at `url`, as `Redis.from_url` does; redis-py has a function like it."""
    return Redis.from_url(url, **options)


def _plain(multiplexed: Any, connection: Any, args: tuple[Any, ...], box: list[Any]) -> Any:
    """Return the reply to an ordinary call that is in the box, and may be an error; what is refused may go again."""
    if isinstance(box[0], ReadOnlyError):
        box[0] = multiplexed.refused(connection, args, box[0])
    return packing.reply(box.pop())


def _tries(name: str, pool: Any, started: float) -> recording.Tries:
    """Return what records the tries of a call."""
    return recording.Tries(name, started, partial(_commands_of, pool), pool.retry_guard)


def _commands_of(pool: Any) -> recording.Commands | None:
    return recording.commands_of(pool._engine.multiplexed, pool._template, False)


class Pipeline(clients.ShortcutPipeline, redis.client.Pipeline):
    """redis-py's pipeline; one that may share goes out in one piece, among other callers' commands."""

    _pool_class = MultiplexedConnectionPool

    @property
    def is_transaction(self) -> bool:
        """Whether the pipeline is a transaction; redis-py's attribute of that name hides its own method."""
        return bool(vars(self)["transaction"])

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Execute the queued commands and return their replies, as in redis-py."""
        stack = self.command_stack
        commands = [args for args, _ in stack]
        transaction: bool = self.is_transaction or self.explicit_transaction
        if not self._may_share(stack, commands) or _watched.others_look():
            return super().execute(raise_on_error)
        if transaction:
            commands = [("MULTI",), *commands, ("EXEC",)]
        data = packing.pack_all(commands)
        make = packing.transaction if transaction else packing.pipeline

        def ask() -> list[Any]:
            request = Request(commands, data, len(commands))
            replies = self.connection_pool._engine.multiplexed.execute(request, current())
            return self._made(make, stack, replies, raise_on_error)

        try:
            results: list[Any] = self._execute(ask, "MULTI" if transaction else "PIPELINE")
            return results
        except Reentered:
            return super().execute(raise_on_error)
        finally:
            self.reset()

    def _execute(self, ask: Callable[[], list[Any]], name: str) -> Any:
        pool = self.connection_pool
        if _recorder._provider_manager is None:
            return pool.retry_guard.attempt(ask)
        tries = _tries(name, pool, _monotonic())
        try:
            results = pool.retry_guard.attempt(ask, tries.failed)
        except Reentered:
            raise
        except Exception as error:
            tries.ended(error)
            raise
        tries.ended()
        return results
