"""An operator's command reaches the server while another command of the same pool keeps the server from answering."""

from __future__ import annotations

import time
from typing import Any

import pytest
import redis

from redpool import embedded
from support.faces import Doing, Face, eventually, together

BUSY_FOR = 6.0
"""Seconds after which the script of these tests ends by itself."""

_BUSY = """
local began = redis.call('TIME')
repeat
    local now = redis.call('TIME')
until now[1] - began[1] + (now[2] - began[2]) / 1000000 > tonumber(ARGV[1])
return 'ended by itself'
"""

PAUSED_FOR = 8.0


@pytest.mark.parametrize("spelling", [("SCRIPT KILL",), ("script", "kill"), (b"Script", b"Kill")])
def test_a_script_is_killed(face: Face, own_server: embedded.Server, spelling: tuple[Any, ...]) -> None:
    """SCRIPT KILL ends a busy script: it is not queued behind the EVAL, after which there would be nothing to kill."""
    with redis.Redis.from_url(own_server.url) as operator:
        operator.config_set("lua-time-limit", 50)  # milliseconds until the server listens to SCRIPT KILL
    pool = face.pool(host=own_server.host, port=own_server.port, max_connections=4, socket_timeout=3 * BUSY_FOR)
    client = face.client(pool)
    client.set("key", "value")
    script = Doing(lambda: client.eval(_BUSY, 0, BUSY_FOR))
    assert eventually(lambda: pool.stats().in_flight == 1)
    time.sleep(0.2)
    assert client.execute_command(*spelling)
    with pytest.raises(redis.ResponseError, match=r"[Ss]cript killed"):
        script.result()
    assert client.get("key") == b"value"


def test_a_paused_write_holds_no_reads_up(face: Face, own_server: embedded.Server) -> None:
    """Under CLIENT PAUSE WRITE a write waits; reads go over another connection, long before the pause ends."""
    pool = face.pool(host=own_server.host, port=own_server.port, max_connections=4, socket_timeout=20.0)
    client = face.client(pool)
    client.set("key", "value")
    with redis.Redis.from_url(own_server.url) as operator:
        operator.execute_command("CLIENT PAUSE", int(PAUSED_FOR * 1000), "WRITE")
        write = Doing(lambda: client.set("key", "later"))
        assert eventually(lambda: pool.stats().in_flight == 1)

        def read(_: int) -> float:
            began = time.monotonic()
            replies = {client.get("key") for _ in range(10)}
            took = time.monotonic() - began
            assert took < PAUSED_FOR / 2, f"ten reads took {took:.1f} s"
            assert replies == {b"value"}
            return took

        for reading in together(4, read):
            reading.result()
        assert not write.done
        client.execute_command("CLIENT UNPAUSE")
        assert write.result() is True
        assert client.get("key") == b"later"
