"""The errors that a pool raises. Code that catches redis-py's errors catches these too.

::

    redis.ConnectionError
    ├── redis.MaxConnectionsError
    │   ├── PoolTimeout        the caller waited `timeout` seconds in the queue
    │   └── PoolFull           `max_waiting` callers were waiting already
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

__all__ = ["DeadlineExceeded", "PoolClosed", "PoolFull", "PoolTimeout", "ReplyLate", "ReplyLost"]


class PoolTimeout(MaxConnectionsError):
    """The caller got no connection within `timeout` seconds.

    The message is a diagnosis: the counts, the age of the oldest lease and the last connect failure, which is also
    the `__cause__`.
    """


class PoolFull(MaxConnectionsError):
    """`max_waiting` callers were waiting for a connection already, so the pool rejected this one at once."""


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
    """A `ReplyLost` whose time ran out; `except redis.TimeoutError` catches it as well."""


class DeadlineExceeded(RedisTimeoutError):
    """The call was not done when the deadline of its `redpool.deadline` block came."""

    def __init__(self, message: str = "", sent: bool = False) -> None:
        super().__init__(message)
        self.sent = sent
        """Whether the command may have reached the server, and run."""


def no_connection_in_time(pool: str, seconds: float) -> DeadlineExceeded:
    """Return what a caller gets whose deadline has come: none gets a connection after it."""
    return DeadlineExceeded(f"{pool}: the deadline of {seconds:g} s came before a connection")


def connect_too_slow(cause: BaseException | None) -> RedisTimeoutError:
    """Return what callers get of a connect that has used up its time, and was cut off."""
    error = RedisTimeoutError("the connect took too long")
    error.__cause__ = cause
    return error
