"""A private cluster of three masters."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import redis

from redpool import embedded

SLOTS = 16384
_MASTERS = 3
_STARTS_WITHIN = 30.0  # seconds


@contextmanager
def masters() -> Iterator[list[embedded.Server]]:
    """Run a private cluster of three masters for the time of the block, in which all agree who has which slots.

    Raises `TimeoutError` where they don't within 30 s.
    """
    with ExitStack() as stack:
        servers = [stack.enter_context(embedded.start(args=("--cluster-enabled", "yes"))) for _ in range(_MASTERS)]
        nodes = [stack.enter_context(redis.Redis.from_url(server.url, decode_responses=True)) for server in servers]
        for number, node in enumerate(nodes):
            slots = range(number * SLOTS // _MASTERS, (number + 1) * SLOTS // _MASTERS)
            node.execute_command("CLUSTER ADDSLOTS", *slots)
            node.execute_command("CLUSTER SET-CONFIG-EPOCH", number + 1)
        for server in servers[1:]:
            nodes[0].execute_command("CLUSTER MEET", server.host, server.port)
        end = time.monotonic() + _STARTS_WITHIN
        while not all(map(_sees_all, nodes)):
            if time.monotonic() > end:
                raise TimeoutError("the masters of the cluster don't agree")
            time.sleep(0.01)
        yield servers


def _sees_all(node: Any) -> bool:
    info = node.execute_command("CLUSTER INFO")
    return bool(info["cluster_state"] == "ok" and len(node.execute_command("CLUSTER SLOTS")) == _MASTERS)
