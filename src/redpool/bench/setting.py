"""What a measurement needs: the server, its duration, and a connection of the bench's own."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import redis

from redpool import embedded

from .masters import masters

KEY = "redpool:bench"
VALUE = b"30 bytes, as a short value is."
CLUSTER_KEYS = [f"{KEY}:{number}" for number in range(64)]
"""Keys of all nodes."""


class Probe:
    """The bench's own connection to the server, which no figure includes."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url, single_connection_client=True)

    def prepare(self) -> None:
        """Set the key that the cases read."""
        self._client.set(KEY, VALUE)

    def clear(self) -> None:
        """Delete the key, and close the connection."""
        try:
            self._client.delete(KEY)
        finally:
            self._client.close()

    def connections_opened(self) -> int:
        """Return how many connections the server has accepted since it started."""
        return int(self._info("stats")["total_connections_received"])

    def server_cpu(self) -> float:
        """Return the seconds of CPU that the server has used since it started."""
        info = self._info("cpu")
        return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])

    def server(self) -> str:
        """Return the server's name and version."""
        info = self._info("server")
        if "valkey_version" in info:
            return f"valkey {info['valkey_version']}"
        return f"redis {info['redis_version']}"

    def _info(self, section: str) -> dict[str, Any]:
        info: Any = self._client.info(section)
        return dict(info)


@dataclass(frozen=True)
class Setting:
    """The server at `url`, the `seconds` that one measurement takes, and the `probe`.

    `cluster` returns a master of a private cluster, which is started at the first call.
    """

    url: str
    seconds: float
    probe: Probe
    cluster: Callable[[], embedded.Server]


@contextmanager
def serving(url: str | None) -> Iterator[tuple[str, embedded.Server | None]]:
    """Yield the URL of the server to use, and the server where it is a private one, which ends with the block."""
    if url is not None:
        yield url, None
        return
    with embedded.start() as server:
        yield server.url, server


@contextmanager
def prepared(url: str, seconds: float) -> Iterator[Setting]:
    """Yield a setting; the keys that the cases read exist for the time of the block."""
    with ExitStack() as ending:

        def cluster() -> embedded.Server:
            first, *_ = ending.enter_context(masters())
            with closing(redis.RedisCluster(host=first.host, port=first.port)) as client:
                for key in CLUSTER_KEYS:
                    client.set(key, VALUE)
            return first

        probe = Probe(url)
        ending.callback(probe.clear)
        probe.prepare()
        yield Setting(url, seconds, probe, cache(cluster))
