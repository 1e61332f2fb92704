"""What a measurement needs: the server, the time it has, and a connection of the bench's own."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import redis

from redpool import embedded

KEY = "redpool:bench"
VALUE = b"30 bytes, as a short value is."


class Probe:
    """The bench's own connection, which no figure counts."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url, single_connection_client=True)

    def prepare(self) -> None:
        """Set the key that the cases read."""
        self._client.set(KEY, VALUE)

    def clear(self) -> None:
        """Take the key away again and hang up."""
        try:
            self._client.delete(KEY)
        finally:
            self._client.close()

    def connections_opened(self) -> int:
        """Connections the server has accepted since it started."""
        return int(self._info("stats")["total_connections_received"])

    def server(self) -> str:
        """The server's name and version."""
        info = self._info("server")
        if "valkey_version" in info:
            return f"valkey {info['valkey_version']}"
        return f"redis {info['redis_version']}"

    def _info(self, section: str) -> dict[str, Any]:
        info: Any = self._client.info(section)
        return dict(info)


@dataclass(frozen=True)
class Setting:
    """The server at `url`, the `seconds` one measurement may take, and the `probe`."""

    url: str
    seconds: float
    probe: Probe


@contextmanager
def serving(url: str | None) -> Iterator[tuple[str, embedded.Server | None]]:
    """The server to use: the one at `url`, or a private one for the time of the block."""
    if url is not None:
        yield url, None
        return
    with embedded.start() as server:
        yield server.url, server


@contextmanager
def prepared(url: str, seconds: float) -> Iterator[Setting]:
    """A setting whose key is there within the block and gone afterwards."""
    probe = Probe(url)
    probe.prepare()
    try:
        yield Setting(url, seconds, probe)
    finally:
        probe.clear()
