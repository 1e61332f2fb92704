"""Field note 56: after any sequence of operations the exported gauges equal the truth."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
import redis.exceptions

import redpool
from support.faces import Doing, Face, Watch, eventually

from .exporters import GAUGES, Exporter, Logs, OpenTelemetry, Prometheus

STEPS = 60


class Script:
    """A random sequence of operations on a pool, and a model of what must come of it."""

    def __init__(self, pool: Any, watch: Watch, seed: int) -> None:
        self.pool, self.watch = pool, watch
        self.random = Random(seed)
        self.held: list[Any] = []
        self.acquired = self.released = self.timeouts = 0
        self.max_connections = 4

    def steps(self, count: int) -> Iterator[str]:
        """Do so many things, then fill the pool and ask for more; yields the name of each when it is done."""
        names = ("take", "take", "take", "take", "give", "give", "kill", "drain", "resize", "disconnect")
        for name in [*self.random.choices(names, k=count), *["take"] * 7]:
            getattr(self, name)()
            yield name

    def take(self) -> None:
        """Check one out, or wait in vain."""
        if len(self.held) < self.max_connections:
            self.held.append(self._acquire())
            return
        with pytest.raises(redpool.PoolTimeout):
            self.pool.get_connection()
        self.timeouts += 1

    def give(self) -> None:
        """Give one back."""
        if self.held:
            self._release(self.held.pop(self.random.randrange(len(self.held))))

    def kill(self) -> None:
        """The server closes some connections; those that have them, and the pool, find out."""
        alive = self.watch.ids("truth")
        self.watch.kill(*self.random.sample(alive, self.random.randint(0, len(alive))))
        self._notice()

    def disconnect(self) -> None:
        """Cut every connection."""
        self.pool.disconnect()
        self._notice()

    def drain(self) -> None:
        """Replace every connection."""
        self.pool.drain()

    def resize(self) -> None:
        """Another size, perhaps below what is in use."""
        self.max_connections = self.random.randint(1, 6)
        self.pool.resize(self.max_connections)

    def truth(self) -> dict[str, float]:
        """What the exporters must say; how many are open, only the server knows."""
        idle = len(self.watch.ids("truth")) - len(self.held)
        return dict(zip(GAUGES, (idle, len(self.held), self.max_connections, 0, self.timeouts), strict=True))

    def _notice(self) -> None:
        for connection in list(self.held):
            try:
                connection.send_command("PING")
                connection.read_response()
            except redis.exceptions.ConnectionError:
                self.held.remove(connection)
                self._release(connection)
        resting = self.pool.stats().idle
        for connection in [self._acquire() for _ in range(resting)]:
            self._release(connection)

    def _acquire(self) -> Any:
        # On a busy machine a connect may outlast the wait: that counts, and is tried again.
        for _ in range(100):
            try:
                connection = self.pool.get_connection()
            except redpool.PoolTimeout:
                self.timeouts += 1
            else:
                self.acquired += 1
                return connection
        raise AssertionError("no connection, though there is room")

    def _release(self, connection: Any) -> None:
        self.pool.release(connection)
        self.released += 1


@pytest.mark.parametrize("seed", range(3))
def test_gauges_equal_the_truth_after_any_sequence(face: Face, at: dict[str, Any], watch: Watch, seed: int) -> None:
    """After each step, every exporter says what the pool says and what the server's CLIENT LIST says."""
    pool = face.pool(**at, max_connections=4, timeout=0.05, client_name="truth", socket_timeout=None)
    pool.warm_up(1)
    raw = getattr(pool, "_target", pool)
    exporters: list[Exporter] = [Prometheus(raw), OpenTelemetry(raw), Logs(raw)]
    script = Script(pool, watch, seed)
    for number, name in enumerate(script.steps(STEPS)):
        for exporter in exporters:
            fits = eventually(lambda exporter=exporter: exporter.read() == script.truth())  # type: ignore[misc]
            assert fits, (seed, number, name, type(exporter).__name__, exporter.read(), script.truth())
        stats = pool.stats()
        assert {gauge: getattr(stats, gauge) for gauge in GAUGES} == script.truth()
        assert (stats.acquired, stats.released, stats.connecting) == (script.acquired, script.released, 0)
        assert stats.connected - sum(stats.closed.values()) == stats.open
    while script.held:
        script.give()
    assert script.timeouts
    assert script.acquired == script.released


@pytest.mark.parametrize("kind", [Prometheus, OpenTelemetry, Logs])
def test_callers_in_the_queue_are_exported(face: Face, at: dict[str, Any], kind: type[Exporter]) -> None:
    """The gauge of waiters goes up as they come and down as they are served."""
    pool = face.pool(**at, max_connections=1, timeout=60)
    exporter = kind(getattr(pool, "_target", pool))
    assert exporter.read()["waiting"] == 0
    held = pool.get_connection()
    waiting = Doing(pool.get_connection)
    assert eventually(lambda: exporter.read()["waiting"] == 1)
    pool.release(held)
    pool.release(waiting.result())
    assert exporter.read() == {"idle": 1, "in_use": 0, "max_connections": 1, "waiting": 0, "timeouts": 0}
