"""`slow_after`: commands that were seen to be slow leave the multiplexed connection that others wait on."""

from __future__ import annotations

from typing import Any

import pytest

from redpool.testing import ScriptedServer, Slow
from support.faces import PATIENCE, Doing, Face, eventually

AFTER = 0.1
BUSY = "local n = 0 while n < 2e7 do n = n + 1 end return n"


def decisions(pool: Any) -> list[str]:
    return [decision.what for decision in pool.dump().decisions]


def test_others_no_longer_wait_for_what_is_slow(shell: Face, scripted: ScriptedServer) -> None:
    """Once it was slow twice. Those that have waited behind it stay where they are."""
    options = {"slow_after": AFTER, "warn_wait": 4 * AFTER, "socket_timeout": PATIENCE}
    pool = shell.pool(host=scripted.host, port=scripted.port, **options)
    client = shell.client(pool)
    scripted.answer("SORT", Slow(4 * AFTER))

    def is_slow() -> bool:
        asking = Doing(lambda: client.sort("list"))
        assert eventually(lambda: pool.stats().in_flight)
        client.get("popular")
        asking.result()
        return any("one SORT goes over the bulk connection" in what for what in decisions(pool))

    assert eventually(is_slow)
    assert eventually(lambda: client.sort("list") is not None and pool.stats().open == 2)
    scripted.answer("SORT", "never")
    asking = Doing(lambda: client.sort("list"))
    sent = scripted.count("SORT")
    assert eventually(lambda: scripted.count("SORT") > sent or pool.stats().in_flight)
    assert client.get("popular") is not None
    assert pool.stats().in_flight == 1
    assert not any("GET" in what for what in decisions(pool))
    pool.disconnect()
    asking.ended()


def test_a_real_server_is_seen_at_work(shell: Face, at: dict[str, Any]) -> None:
    """A script that takes it long; what waits meanwhile isn't blamed."""
    pool = shell.pool(**at, slow_after=AFTER / 2, warn_wait=4 * AFTER, socket_timeout=PATIENCE)
    client = shell.client(pool)

    def is_slow() -> bool:
        asking = Doing(lambda: client.eval(BUSY, 0))
        client.get("popular")
        asking.result()
        return any("one EVAL goes over the bulk connection" in what for what in decisions(pool))

    assert eventually(is_slow)
    assert not any("GET" in what for what in decisions(pool))
    assert "while" not in str(pool.dump().decisions)


@pytest.mark.parametrize("wrong", [0, -1.0, "1", True])
def test_wrong_options_are_named(shell: Face, wrong: Any) -> None:
    """With the value."""
    with pytest.raises((TypeError, ValueError), match=f"slow_after must be .*{wrong!r}"):
        shell.pool(slow_after=wrong)


def test_it_is_off_by_default(shell: Face, at: dict[str, Any]) -> None:
    """Nothing is looked at then."""
    pool = shell.pool(**at)
    assert pool.config.slow_after is None
    assert shell.client(pool).ping()
    assert decisions(pool) == []
