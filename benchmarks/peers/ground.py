"""The server that the peers are measured on: its keys, its list of clients, and the network in front of it."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from statistics import median
from typing import Any

import redis

from redpool import embedded

from .network import Network
from .peer import Address

CHECKED_KEYS = {f"redpool:bench:{number}": b"value of %d" % number for number in range(8)}

_PINGS = 11


class Ground:
    """A private `server`, the `network` in front of it, and a connection of the bench's own that no figure includes."""

    def __init__(self, server: embedded.Server, network: Network) -> None:
        self.server = server
        self.network = network
        self._client: Any = redis.Redis.from_url(server.url, single_connection_client=True)

    def prepare(self, value_bytes: int) -> str:
        """Set a key to a value of `value_bytes` bytes, and return the key."""
        key = f"redpool:bench:{value_bytes}B"
        self._client.set(key, b"v" * value_bytes)
        return key

    def connected(self) -> set[str]:
        """Return the ids of the connections that the server has now."""
        return {client["id"] for client in self._client.client_list()}

    def ping(self, round_trip: float) -> float:
        """Return the seconds that a PING takes over a path with this round trip: the median of several."""
        host, port = self.network.address(round_trip)
        with closing(redis.Redis(host=host, port=port, single_connection_client=True)) as client:
            return median(_timed(client.ping) for _ in range(_PINGS))

    def about(self) -> str:
        """Return the server's name and version."""
        info = self._client.info("server")
        return f"valkey {info['valkey_version']}" if "valkey_version" in info else f"redis {info['redis_version']}"

    def close(self) -> None:
        """Close the bench's own connection."""
        self._client.close()

    def set_checked_keys(self) -> None:
        """Set the keys whose values `check` expects."""
        self._client.mset(CHECKED_KEYS)


def _timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


@contextmanager
def ground() -> Iterator[Ground]:
    """Yield a server and a network, which end with the block."""
    with embedded.start() as server, Network(Address(server.host, server.port)) as network:
        made = Ground(server, network)
        try:
            made.set_checked_keys()
            yield made
        finally:
            made.close()
