"""The simulated network: a relay of its own for each round trip, started when it is first used."""

import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from . import relay
from .peer import Address


class Network:
    """Paths to the server at `address`, each with a round trip of its own. All end with the block."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._links: dict[float, Link] = {}

    def address(self, round_trip: float) -> Address:
        """Return the address to connect to for answers that take `round_trip` seconds longer."""
        return self._link(round_trip).address if round_trip else self._address

    def cpu(self, round_trip: float) -> float:
        """Return the seconds of CPU that this path has used so far, outside of client and server."""
        return self._link(round_trip).cpu() if round_trip else 0.0

    def _link(self, round_trip: float) -> "Link":
        if round_trip not in self._links:
            self._links[round_trip] = Link(self._address, round_trip)
        return self._links[round_trip]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for link in self._links.values():
            link.close()


class Link:
    """A running relay; `address` is where it listens."""

    def __init__(self, server: Address, round_trip: float) -> None:
        command = [sys.executable, "-I", str(Path(relay.__file__)), server.host, str(server.port), str(round_trip)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self.address = Address("127.0.0.1", int(self._line()))

    def cpu(self) -> float:
        """Return the seconds of CPU that the relay has used."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._line())

    def close(self) -> None:
        """End the relay, and return when it is gone."""
        self._process.kill()
        self._process.communicate()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()
