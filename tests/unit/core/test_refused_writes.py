"""A replica refuses writes: connections are replaced, and not at each write."""

from __future__ import annotations

from redpool.core import policy

from .driver import Driver


def test_the_first_refusal_replaces_all() -> None:
    """Idle connections end now, those in use as they come back."""
    driver = Driver(prompt=True, max_connections=4)
    mine, other, third = driver.take(0.0), driver.take(0.0), driver.take(0.0)
    driver.release(third, 0.5)
    assert driver.core.refused_write(mine, False, 1.0)
    driver.collect(1.0)
    assert driver.core.open == 2
    driver.release(mine, 1.1)
    driver.release(other, 1.1)
    assert driver.core.open == 0


def test_one_that_is_connected_anew_is_new() -> None:
    """It stays when it comes back. What was connected before is replaced, too, when it is refused a write."""
    driver = Driver(prompt=True, max_connections=4)
    mine, other = driver.take(0.0), driver.take(0.0)
    assert driver.core.refused_write(mine, True, 1.0)
    assert driver.core.refused_write(other, True, 1.1)
    driver.release(mine, 1.2)
    driver.release(other, 1.2)
    assert driver.core.open == 2


def test_a_pool_for_a_replica_is_left_alone_for_a_while() -> None:
    """A connection that is new and refused a write says that the name leads to a replica."""
    driver = Driver(prompt=True, max_connections=4)
    mine = driver.take(0.0)
    assert driver.core.refused_write(mine, True, 1.0)
    for now in (1.1, 2.0, 1.0 + policy.REPLACED_AGAIN_AFTER - 0.1):
        assert not driver.core.refused_write(mine, True, now)
        assert not driver.core.refused_write(None, False, now)
    generation = driver.core.generation
    assert driver.core.refused_write(None, False, 1.0 + policy.REPLACED_AGAIN_AFTER)
    assert driver.core.generation == generation + 1


def test_a_pool_that_was_shut_down_has_nothing_to_replace() -> None:
    """Its connections end anyway."""
    driver = Driver(prompt=True)
    slot = driver.take(0.0)
    driver.core.shutdown(1.0)
    assert not driver.core.refused_write(slot, True, 1.0)


def test_no_connection_outlives_a_close() -> None:
    """One that is refused a write while the pool is closed, and connects anew, is closed when it comes back."""
    driver = Driver(prompt=True)
    slot = driver.take(0.0)
    driver.core.close(1.0)
    assert driver.core.refused_write(slot, True, 1.1)
    driver.release(slot, 1.2)
    assert driver.core.open == 0


def test_a_shutdown_after_a_drain_is_no_reason_to_replace() -> None:
    """Nothing could be connected any more: the caller gets the server's error."""
    driver = Driver(prompt=True)
    slot = driver.take(0.0)
    driver.core.drain(1.0)
    driver.core.shutdown(1.1)
    assert not driver.core.refused_write(slot, True, 1.2)
