"""The errors that a pool raises. Code that catches redis-py's errors catches these too.

::

    redis.ConnectionError
    ├── redis.MaxConnectionsError
    │   ├── PoolTimeout        the caller waited `timeout` seconds in the queue
    │   ├── PoolFull           `max_waiting` callers were waiting already
    │   └── PoolOverloaded     the pool sheds load: the caller has waited, or would wait, for too long
    ├── PoolClosed             the pool was shut down
    └── ReplyLost              the command was sent, and its reply won't come: it may have run
        └── ReplyLate          the reply's time ran out; it is a redis.TimeoutError, too
    redis.TimeoutError
    └── DeadlineExceeded       the call's deadline came

A server that can't be reached is none of these: the caller gets the very error that the connect raised.
"""

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MaxConnectionsError
from redis.exceptions import TimeoutError as RedisTimeoutError

__all__ = ["DeadlineExceeded", "PoolClosed", "PoolFull", "PoolOverloaded", "PoolTimeout", "ReplyLate", "ReplyLost"]


class PoolTimeout(MaxConnectionsError):
    """The caller got no connection within `timeout` seconds.

    The message is a diagnosis: the counts, the age of the oldest lease and the last connect failure, which is also
    the `__cause__`.
    """


class PoolFull(MaxConnectionsError):
    """`max_waiting` callers were waiting for a connection already, so the pool rejected this one at once."""


class PoolOverloaded(MaxConnectionsError):
    """The pool turned this caller away before its time, since more come than are served: the option `shed`.

    The message says why: for how long callers have been waiting, or what is left of this one's deadline. Nothing was
    sent. No retry policy answers it: another try would be more load.
    """


class PoolClosed(RedisConnectionError):
    """The pool was shut down, and lends no more connections."""


class ReplyLost(RedisConnectionError):
    """The connection broke, or the reply's time ran out, after the command was sent: it may have run.

    It was not sent again, since running it twice could make a difference; the option `retry_sent` says which commands
    may be. The error that lost the reply is the `__cause__`.
    """

    sent = True
    """The command may have reached the server."""

    def __init__(self, message: str = "", command: str = "") -> None:
        super().__init__(message)
        self.command = command
        """The command's name; of a pipeline, the name of its first one that must not run twice."""


class ReplyLate(ReplyLost, RedisTimeoutError):
    """A `ReplyLost` whose time ran out; `except redis.TimeoutError` catches it as well.

    Where many replies are late, a command that may run twice isn't sent again either: see `retry_sent`.
    """


class DeadlineExceeded(RedisTimeoutError):
    """The call was not done when the deadline of its `redpool.deadline` block came."""

    def __init__(self, message: str = "", sent: bool = False) -> None:
        super().__init__(message)
        self.sent = sent
        """Whether the command may have reached the server, and run."""


# -- what they say: `<pool>: <what failed>: <numbers, advice>` ---------------------------------------------------------


def no_connection_in_time(pool: str, seconds: float) -> DeadlineExceeded:
    """Return what a caller gets whose deadline, of so many seconds, came before it had a connection."""
    return DeadlineExceeded(f"{pool}: deadline of {seconds:g} s exceeded while waiting for a connection")


def deadline_exceeded(seconds: float, sent: bool) -> DeadlineExceeded:
    """Return what a caller gets whose deadline, of so many seconds, came in the midst of its call."""
    how = "after the command was sent: it may have run" if sent else "before the command was sent"
    return DeadlineExceeded(f"deadline of {seconds:g} s exceeded {how}", sent)


def reply_lost(command: str, error: Exception) -> ReplyLost:
    """Return what a caller gets whose command may have run, and must not be sent again; `error` is its cause."""
    kind = ReplyLate if isinstance(error, RedisTimeoutError) else ReplyLost
    lost = kind(f"{command} may have run, and was not sent again: its reply was lost: {error}", command)
    lost.__cause__ = error
    return lost


def reply_late(command: str, error: BaseException) -> ReplyLost:
    """Return what a caller gets whose command came late, and could run twice, but for the pool's retry budget."""
    late = ReplyLate(
        f"{command} may have run, and was not sent again: late commands have used up the retry budget: {error}", command
    )
    late.__cause__ = error
    return late


def pool_gone() -> PoolClosed:
    """Return what a caller gets that is left of a pool which was dropped."""
    return PoolClosed("the pool is gone")


def shut_down(pool: str) -> PoolClosed:
    """Return what callers get of a pool that was shut down."""
    return PoolClosed(f"{pool}: the pool was shut down")


def no_response(server: str, seconds: float) -> RedisTimeoutError:
    """Return what callers get that wait on a connection over which nothing has come for so many seconds."""
    return RedisTimeoutError(f"no response from {server} for {seconds:.3g} s")


def stopped_reading() -> RedisTimeoutError:
    """Return what callers get where the server takes nothing more of what they send."""
    return RedisTimeoutError("timed out writing: the server stopped reading")


def interrupted(at: str) -> RedisConnectionError:
    """Return what the others get where a thread was interrupted in the midst of what it did for all."""
    return RedisConnectionError(f"the thread {at} this connection was interrupted")


def retired() -> RedisConnectionError:
    """Return what a caller gets where one connection after the other ended before its command was sent."""
    return RedisConnectionError("the multiplexed connection was released before the command was sent")


def inherited() -> RedisConnectionError:
    """Return what callers get in a forked child whose command the parent has sent."""
    return RedisConnectionError("the connection is the parent process's")


def connect_too_slow(cause: BaseException | None) -> RedisTimeoutError:
    """Return what callers get of a connect that has used up its time, and was cut off."""
    error = RedisTimeoutError("the connect took too long")
    error.__cause__ = cause
    return error
