"""redis-py's retry policies, as connections carry them: made to ask whether another try is right.

A policy decides how often and after which pause. What it can't know is whether a command may run twice, and when the
caller's time is up.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import AbstractBackoff, NoBackoff
from redis.retry import Retry as SyncRetry

from ..deadline import current
from ..errors import DeadlineExceeded, PoolClosed, PoolFull, PoolOverloaded, PoolTimeout, ReplyLost
from .internals import call_with_retry, call_with_retry_async

Failed = Callable[[Exception, int], Any]
"""What is called after a try that has failed, with the error and with how many have."""

_FINAL = (ReplyLost, DeadlineExceeded, PoolClosed, PoolFull, PoolOverloaded, PoolTimeout)


def final(error: BaseException) -> BaseException:
    """Mark an error as one that no policy may answer with another try, and return it."""
    error.redpool_final = True  # type: ignore[attr-defined]  # a mark on any error
    return error


def _may_try_again(error: Exception) -> bool:
    # A caller whose time is up is told so by the next try, which knows what may have run.
    return not (isinstance(error, _FINAL) or hasattr(error, "redpool_final"))


def _call_guarded(policy: Any, do: Any, fail: Any, is_retryable: Any = None, with_failure_count: bool = False) -> Any:
    asked = _may_try_again if is_retryable is None else _both(is_retryable)
    return call_with_retry(policy, policy.guarded, do, fail, asked, with_failure_count)


async def _call_guarded_async(
    policy: Any, do: Any, fail: Any, is_retryable: Any = None, with_failure_count: bool = False
) -> Any:
    asked = _may_try_again if is_retryable is None else _both(is_retryable)
    return await call_with_retry_async(policy, policy.guarded, do, fail, asked, with_failure_count)


def _both(is_retryable: Callable[[Exception], bool]) -> Callable[[Exception], bool]:
    return lambda error: _may_try_again(error) and is_retryable(error)


class _WithinDeadline(AbstractBackoff):
    """Pauses as another backoff does, but not beyond the caller's deadline."""

    __slots__ = ("_backoff",)

    def __init__(self, backoff: AbstractBackoff) -> None:
        self._backoff = backoff

    def reset(self) -> None:
        self._backoff.reset()

    def compute(self, failures: int) -> float:
        pause, limit = self._backoff.compute(failures), current()
        return pause if limit is None else min(pause, limit.left())

    def __eq__(self, other: object) -> bool:
        return bool(self._backoff == (other._backoff if isinstance(other, _WithinDeadline) else other))

    def __hash__(self) -> int:
        return hash(self._backoff)


class RetryGuard:
    """A retry policy that many calls share: each call that fails goes on with a copy of its own."""

    __slots__ = ("_keeps_to_list", "policy")

    def __init__(self, policy: Any) -> None:
        self.policy = policy
        # A user's class that calls in its own way may try again after other errors than those on its list.
        self._keeps_to_list = _calls_as_redis_pys(type(policy))

    def __getattr__(self, name: str) -> Any:
        if name == "policy":  # not set yet, in what `copy` is making
            raise AttributeError(name)
        return getattr(self.policy, name)

    def call_with_retry(self, do: Any, fail: Any, is_retryable: Any = None, with_failure_count: bool = False) -> Any:
        """As in redis-py."""
        try:
            return do()
        except Exception as error:
            first = [error]
        again = _resuming(first, do)
        return copy.deepcopy(self.policy).call_with_retry(again, fail, is_retryable, with_failure_count)

    def _check_worth(self, error: Exception) -> None:
        """Raise what no policy of redis-py's may try again, before one is copied for it."""
        if isinstance(error, _FINAL) or (self._keeps_to_list and not isinstance(error, self.policy._supported_errors)):
            try:
                raise error
            finally:
                del error  # else it and this frame would keep each other, and the pool

    def attempt(self, do: Callable[[], Any], failed: Failed | None = None) -> Any:
        """Call `do`, again where the policy says so, with nothing to be closed in between.

        Where it is given, `failed` is called, and awaited on an event loop, after each try that has failed.
        """
        return self.call_with_retry(do, failed or _nothing_to_close, with_failure_count=True)

    def after(self, error: Exception, do: Callable[[], Any], failed: Failed | None = None) -> Any:
        """Call `do` again where the policy says so, after a first try that has failed with `error`."""
        try:
            self._check_worth(error)
            again = _resuming([error], do)
        finally:
            del error  # as above
        fail = failed or _nothing_to_close
        return copy.deepcopy(self.policy).call_with_retry(again, fail, with_failure_count=True)


class RetryGuardAsync(RetryGuard):
    """A `RetryGuard` for the callers of an event loop."""

    __slots__ = ()

    async def call_with_retry(
        self, do: Any, fail: Any, is_retryable: Any = None, with_failure_count: bool = False
    ) -> Any:
        """As in redis-py."""
        try:
            return await do()
        except Exception as error:
            first = [error]
        again = _resuming_async(first, do)
        return await copy.deepcopy(self.policy).call_with_retry(again, fail, is_retryable, with_failure_count)

    async def attempt(self, do: Callable[[], Any], failed: Failed | None = None) -> Any:
        """Call `do`, again where the policy says so, with nothing to be closed in between, as in a `RetryGuard`."""
        return await self.call_with_retry(do, failed or _nothing_to_close_async, with_failure_count=True)

    async def after(self, error: Exception, do: Callable[[], Any], failed: Failed | None = None) -> Any:
        """Call `do` again where the policy says so, after a first try that has failed with `error`."""
        try:
            self._check_worth(error)
            again = _resuming_async([error], do)
        finally:
            del error  # as above
        fail = failed or _nothing_to_close_async
        return await copy.deepcopy(self.policy).call_with_retry(again, fail, with_failure_count=True)


def _calls_as_redis_pys(guarded: Any) -> bool:
    """Return whether a guarded class of policies calls as redis-py's own does; there may be no policy at all."""
    own = getattr(guarded, "guarded", SyncRetry)
    return own.call_with_retry in (SyncRetry.call_with_retry, AsyncRetry.call_with_retry)


def _resuming(first: list[Exception], do: Callable[[], Any]) -> Callable[[], Any]:
    """Return what fails once more as the first try has failed, and then does what is to be tried."""

    def again() -> Any:
        if first:
            raise first.pop()
        return do()

    return again


def _resuming_async(first: list[Exception], do: Callable[[], Any]) -> Callable[[], Any]:
    async def again() -> Any:
        if first:
            raise first.pop()
        return await do()

    return again


def _nothing_to_close(error: Exception, failures: int) -> None:
    """Do nothing: what failed was no connection of the caller's own."""


async def _nothing_to_close_async(error: Exception, failures: int) -> None:
    """Do nothing, on an event loop."""


_made: dict[type, type] = {}


def guard_retries(connection: Any) -> None:
    """Have a new connection's own copy of the policy ask; a connection that isn't redis-py's may have none."""
    retry = getattr(connection, "retry", None)
    if retry is not None:
        connection.retry = _guarded(retry)


def guarded_copy(retry: Any) -> Any:
    """Return a copy of the user's policy for one connection, which asks."""
    return _guarded(copy.deepcopy(retry))


def _guarded(retry: Any) -> Any:
    kind = type(retry)
    if kind not in _made:
        if not isinstance(retry, SyncRetry | AsyncRetry) or hasattr(kind, "guarded"):
            return retry
        call = _call_guarded if isinstance(retry, SyncRetry) else _call_guarded_async
        # A policy becomes one of these, so that it must not need more room: one base, and no attributes of its own.
        names = {"__module__": kind.__module__, "__slots__": (), "guarded": kind, "call_with_retry": call}
        _made[kind] = type(kind.__name__, (kind,), names)
    retry.__class__ = _made[kind]
    if not isinstance(retry._backoff, NoBackoff | _WithinDeadline):
        retry._backoff = _WithinDeadline(retry._backoff)
    return retry
