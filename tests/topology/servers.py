"""A master with a replica under a Sentinel, and a cluster of three masters: private, on loopback, gone afterwards."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import redis

from redpool import embedded
from redpool.bench.masters import masters
from support.faces import eventually

SERVICE = "mymaster"
STARTS_WITHIN = 30.0  # seconds


class Guarded:
    """Two servers, of which one is the master, and the Sentinel that watches them."""

    def __init__(self, servers: list[embedded.Server], sentinel: Any, sentinel_port: int) -> None:
        self.servers = servers
        self.sentinel = sentinel
        self.sentinels = [("127.0.0.1", sentinel_port)]

    @property
    def master(self) -> int:
        """The master's port, as Sentinel knows it."""
        return int(self.sentinel.sentinel_masters()[SERVICE]["port"])

    def replica_is_ready(self) -> bool:
        """Whether Sentinel sees a replica that it could promote."""
        replicas = self.sentinel.sentinel_slaves(SERVICE)
        return any(
            each["master-link-status"] == "ok" and not (each["is_sdown"] or each["is_disconnected"])
            for each in replicas
            if each["port"] != self.master
        )

    def fail_over(self) -> int:
        """Make the replica the master, and wait until the last one has become its replica; the new port."""
        last = self.master
        assert eventually(self.replica_is_ready, STARTS_WITHIN)

        def begun() -> bool:
            try:
                return bool(self.sentinel.sentinel_failover(SERVICE))
            except redis.ResponseError:  # Sentinel has not heard of the replica lately
                return False

        assert eventually(begun, STARTS_WITHIN)
        assert eventually(lambda: self.master != last, STARTS_WITHIN)
        with redis.Redis(port=last) as client:
            client.replicaof("127.0.0.1", self.master)  # Sentinel would see to it after a while
        return self.master


@contextmanager
def guarded() -> Iterator[Guarded]:
    """A master, its replica and a Sentinel."""
    with ExitStack() as stack:
        master = stack.enter_context(embedded.start(args=("--repl-diskless-sync-delay", "0")))
        of_it = ("--replicaof", master.host, str(master.port), "--repl-diskless-sync-delay", "0")
        replica = stack.enter_context(embedded.start(args=of_it))
        port = stack.enter_context(_sentinel(master))
        client = stack.enter_context(redis.Redis(port=port, decode_responses=True))
        found = Guarded([master, replica], client, port)
        assert eventually(found.replica_is_ready, STARTS_WITHIN)
        yield found


@contextmanager
def _sentinel(master: embedded.Server) -> Iterator[int]:
    with tempfile.TemporaryDirectory() as directory:
        # The port of a server that has just ended is free.
        with embedded.start() as taken:
            port = taken.port
        config = Path(directory, "sentinel.conf")
        config.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {directory}\nsentinel monitor {SERVICE} {master.host} {master.port} 1\n"
            f"sentinel down-after-milliseconds {SERVICE} 60000\nsentinel failover-timeout {SERVICE} 2000\n"
        )
        process = subprocess.Popen([embedded.find_server(), str(config), "--sentinel"], stdout=subprocess.DEVNULL)
        try:
            with redis.Redis(port=port) as client:
                assert eventually(lambda: _answers(client), STARTS_WITHIN)
                with contextlib.suppress(redis.ResponseError):  # an older one takes its time
                    client.execute_command("SENTINEL DEBUG", "INFO-PERIOD", 100, "ASK-PERIOD", 100)
            yield port
        finally:
            process.kill()
            process.wait()


def _answers(client: Any) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


class Cluster:
    """Three masters that share the slots."""

    def __init__(self, servers: list[embedded.Server]) -> None:
        self.servers = servers
        self.nodes = [redis.Redis.from_url(server.url, decode_responses=True) for server in servers]
        self.ids = [str(node.execute_command("CLUSTER MYID")) for node in self.nodes]

    def owner(self, slot: int) -> int:
        """Which of the servers has the slot."""
        for first, last, node, *_ in self.nodes[0].execute_command("CLUSTER SLOTS"):
            if first <= slot <= last:
                return [server.port for server in self.servers].index(node[1])
        raise LookupError(slot)

    def begin_to_move(self, slot: int) -> tuple[int, int]:
        """From here on what is not at the owner is asked for at another one (ASK): both, as numbers."""
        source = self.owner(slot)
        target = (source + 1) % len(self.servers)
        self.nodes[target].execute_command("CLUSTER SETSLOT", slot, "IMPORTING", self.ids[source])
        self.nodes[source].execute_command("CLUSTER SETSLOT", slot, "MIGRATING", self.ids[target])
        return source, target

    def finish_to_move(self, slot: int, target: int) -> None:
        """Give the slot to another one, with the keys in it (MOVED)."""
        source = self.owner(slot)
        keys = self.nodes[source].execute_command("CLUSTER GETKEYSINSLOT", slot, 1000)
        if keys:
            to = self.servers[target]
            self.nodes[source].execute_command("MIGRATE", to.host, to.port, "", 0, 5000, "KEYS", *keys)
        for node in (self.nodes[target], *self.nodes):
            node.execute_command("CLUSTER SETSLOT", slot, "NODE", self.ids[target])
        assert self.owner(slot) == target

    def close(self) -> None:
        for node in self.nodes:
            node.close()


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A cluster in which all agree."""
    with masters() as servers:
        found = Cluster(servers)
        yield found
        found.close()


class Pair:
    """A master and its replica, and what a Sentinel would say of them."""

    def __init__(self, servers: list[embedded.Server]) -> None:
        self.servers = servers
        self.nodes = [redis.Redis.from_url(server.url) for server in servers]
        self._master = 0

    def address(self, role: int) -> tuple[str, int]:
        """Of the master (0), or of the replica (1)."""
        server = self.servers[self._master ^ role]
        return server.host, server.port

    @property
    def master(self) -> Any:
        """A client of the master's own."""
        return self.nodes[self._master]

    def change_places(self) -> None:
        """The master becomes the replica of the other one, and keeps its connections."""
        before = self._master
        self._master ^= 1
        self.master.replicaof("NO", "ONE")
        self.nodes[before].replicaof(*self.address(0))

    def close(self) -> None:
        for node in self.nodes:
            node.close()


@contextmanager
def pair() -> Iterator[Pair]:
    """Two servers without a Sentinel, so that nothing has to be waited for."""
    with embedded.start() as first, embedded.start() as second:
        found = Pair([first, second])
        found.nodes[1].replicaof(*found.address(0))
        yield found
        found.close()
