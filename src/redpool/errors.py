"""What the pool raises. Code that catches redis-py's errors catches these too.

::

    redis.ConnectionError
    ├── redis.MaxConnectionsError
    │   ├── PoolTimeout        waited `timeout` in the queue
    │   └── PoolFull           `max_waiting` callers were waiting already
    └── PoolClosed             the pool was closed

A server that cannot be reached is none of these: the caller gets the very error that the dial raised.
"""

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MaxConnectionsError

__all__ = ["PoolClosed", "PoolFull", "PoolTimeout"]


class PoolTimeout(MaxConnectionsError):
    """No connection came free within `timeout` seconds.

    The message is a diagnosis: the counts, the age of the oldest lease and the last dial failure, which is also
    the `__cause__`.
    """


class PoolFull(MaxConnectionsError):
    """`max_waiting` callers were waiting for a connection already, so this one was turned away at once."""


class PoolClosed(RedisConnectionError):
    """The pool was closed; it hands out nothing any more."""
