"""Celery over redpool's pools: a broker transport, and a result backend.

Import this module where the application is made; then both have URLs of their own::

    import redpool.contrib.celery

    app = Celery(broker="redpool://localhost:6379/0", backend="redpool://localhost:6379/1")

They are kombu's and Celery's otherwise: the same keys, options and messages.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import redis
from celery.app.backends import BACKEND_ALIASES
from celery.backends.redis import RedisBackend
from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as theirs
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

import redpool

from . import pools

_SECONDS = 5.0  # redis-py's own timeout


def _retry() -> Retry:
    """Return how often what may run twice is sent again, and a caller sits through failed connects.

    Celery sends little of that again itself, such as the GET before a result is stored: the result would be lost.
    """
    return Retry(ExponentialBackoff(cap=0.5, base=0.01), retries=8)


class Channel(theirs.Channel):
    """kombu's channel. What it publishes goes over one pool of the process; what it consumes by is given back."""

    keyprefix_fanout: str

    def _connparams(self, asynchronous: bool = False) -> Any:
        params = super()._connparams(asynchronous)
        for name in ("socket_timeout", "socket_connect_timeout"):  # kombu waits without end where the network is silent
            if name in params and params[name] is None:
                params[name] = _SECONDS + self.brpop_timeout
        return params

    def _get_pool(self, asynchronous: bool = False) -> Any:
        params = self._connparams(asynchronous=asynchronous)
        self.keyprefix_fanout = self.keyprefix_fanout.format(db=params["db"])
        if asynchronous:  # the event loop polls their sockets, and each tells this channel when it is closed
            return redpool.ConnectionPool(**params)
        return pools.made_once(_shared_pool, **params)

    def _get_client(self) -> Any:
        client = super()._get_client()
        return redpool.Redis if client is redis.Redis else client

    def _disconnect_pools(self) -> None:
        self._pool = None  # it serves other channels, too
        super()._disconnect_pools()

    def close(self) -> None:
        """Close the channel, and give back its connections, even where the server doesn't answer any more."""
        try:
            super().close()
        finally:
            self.give_back()

    def give_back(self) -> None:
        """Release the connections that are held to consume by."""
        for name in ("client", "subclient"):
            consumer: Any = vars(self).get(name)
            connection = getattr(consumer, "connection", None)
            if connection is not None:
                consumer.connection = None
                connection.disconnect()
                consumer.connection_pool.release(connection)

    def _close_clients(self) -> None:
        self.give_back()


def _shared_pool(**params: Any) -> redpool.MultiplexedConnectionPool:
    return redpool.MultiplexedConnectionPool(**{"retry": _retry(), **params})


class Transport(theirs.Transport):
    """kombu's transport over Redis."""

    Channel = Channel

    def close_connection(self, connection: Any) -> None:
        """Close all channels; kombu forgets those that come after one that can't be closed."""
        channels = [*self._avail_channels, *self.channels]
        try:
            super().close_connection(connection)
        finally:
            for channel in channels:
                with suppress(*self.connection_errors):
                    channel.give_back()


class Backend(RedisBackend):
    """Celery's result backend over Redis. The backends that it makes, one in each thread, have one pool."""

    def _get_client(self) -> Any:
        return redpool.Redis

    def _get_pool(self, **params: Any) -> Any:
        return pools.made_once(_shared_pool, **params)


TRANSPORT_ALIASES["redpool"] = f"{__name__}:{Transport.__name__}"
BACKEND_ALIASES["redpool"] = f"{__name__}:{Backend.__name__}"
