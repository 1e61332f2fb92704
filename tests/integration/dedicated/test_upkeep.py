"""What the pool does by itself: it keeps connections ready, closes idle ones, renews and validates them."""

from __future__ import annotations

from typing import Any

from support.faces import Doing, Face, Recorder, Watch, eventually


def _id(pool: Any, face: Face) -> int:
    return int(face.client(pool).client_id())


def test_some_are_kept_ready(face: Face, at: dict[str, Any], watch: Watch) -> None:
    """`min_idle` connections are opened in the background, beside those in use."""
    pool = face.pool(**at, min_idle=2, client_name="ready")
    with pool.connection():
        assert eventually(lambda: pool.stats().idle == 2)
        assert eventually(lambda: pool.stats().connecting == 0)
        assert len(watch.ids("ready")) == 3
    assert pool.stats().open == 3


def test_those_kept_ready_are_replaced(face: Face, at: dict[str, Any], watch: Watch) -> None:
    """When one of `min_idle` is found dead, another is opened in its place."""
    pool = face.pool(**at, min_idle=2, max_connections=2, client_name="replaced")  # no third that no caller meets
    client = face.client(pool)
    client.ping()
    assert eventually(lambda: len(watch.ids("replaced")) >= 2 and not pool.stats().connecting)
    old = watch.ids("replaced")
    watch.kill(*old)
    assert client.ping() is True
    assert eventually(lambda: len(watch.ids("replaced")) >= 2)
    assert not set(old) & set(watch.ids("replaced"))


def test_the_idle_are_closed(face: Face, at: dict[str, Any], watch: Watch) -> None:
    """A connection that no caller needed for `max_idle_time` is closed, down to `min_idle`."""
    recorder = Recorder()
    pool = face.pool(**at, min_idle=1, max_idle_time=0.1, client_name="idle", instruments=[recorder])
    face.open_connections(pool, 5)
    assert eventually(lambda: len(watch.ids("idle")) == 1)
    assert pool.stats().open == 1
    assert {reason for reason, _ in recorder.named("closed")} == {"idle"}
    assert min(age for _, age in recorder.named("closed")) >= 0.1


def test_the_idle_may_stay_for_ever(face: Face, at: dict[str, Any]) -> None:
    """With `None` for the times nothing is ever due: the pool leaves its connections alone."""
    pool = face.pool(**at, max_idle_time=None, max_lifetime=None, ping_after_idle=None)
    face.open_connections(pool, 3)
    busy = face.pool(**at, max_idle_time=0.05)
    face.open_connections(busy, 3)
    assert eventually(lambda: busy.stats().open == 0)
    assert (pool.stats().open, pool.stats().closed) == (3, {})


def test_old_age(face: Face, at: dict[str, Any], watch: Watch) -> None:
    """At `max_lifetime` a connection is replaced when free, the replacement connected first; no command fails."""
    recorder = Recorder()
    pool = face.pool(
        **at, max_lifetime=0.1, lifetime_jitter=0.0, min_idle=1, client_name="aged", instruments=[recorder]
    )
    client = face.client(pool)
    first = int(client.client_id())
    while not (recorder.named("closed") and first not in watch.ids("aged")):
        assert client.ping() is True
        assert len(recorder.raised) < 1_000_000
    events = [hook for hook in recorder.hooks if hook in ("connected", "closed")]
    assert events[:2] == ["connected", "connected"]
    reason, age = recorder.named("closed")[0]
    assert reason == "lifetime"
    assert age >= 0.1


def test_old_age_while_idle(face: Face, at: dict[str, Any], watch: Watch) -> None:
    """The same in the background, where no caller uses the pool."""
    recorder = Recorder()
    pool = face.pool(**at, max_lifetime=0.1, min_idle=1, client_name="aged-idle", instruments=[recorder])
    first = _id(pool, face)
    assert eventually(lambda: len(recorder.named("closed")) >= 2)
    assert first not in watch.ids("aged-idle")
    assert recorder.hooks.index("closed") > [hook == "connected" for hook in recorder.hooks].index(True)
    assert {reason for reason, _ in recorder.named("closed")} == {"lifetime"}


def test_old_age_never_ends_a_use(face: Face, at: dict[str, Any]) -> None:
    """A connection in use outlives its time, and is replaced when it comes back."""
    recorder = Recorder()
    pool = face.pool(**at, max_connections=1, max_lifetime=0.05, lifetime_jitter=0.0, instruments=[recorder])
    client = face.client(pool)
    assert client.blpop(["nothing"], timeout=0.3) is None
    assert eventually(lambda: pool.stats().closed.get("lifetime", 0) >= 1)
    assert recorder.named("closed")[0][1] >= 0.28
    assert client.ping() is True


def test_lifetimes_differ(face: Face, at: dict[str, Any]) -> None:
    """`lifetime_jitter` shortens each lifetime by another share, so that connections don't end together."""
    pool = face.pool(**at, max_lifetime=100.0, lifetime_jitter=0.5, max_connecting=10)
    pool.warm_up(10)
    raw = getattr(pool, "_target", pool)
    slots = [connection._redpool.slot for connection in raw._available_connections]
    lives = [slot.expires_at - slot.connected_at for slot in slots]
    assert len(set(lives)) == 10
    assert all(49.9 <= life <= 100.1 for life in lives)


def test_the_newest_first(face: Face, at: dict[str, Any]) -> None:
    """`order="lifo"`: the connection that came back last is taken next, so that the others can be closed."""
    pool = face.pool(**at)
    face.open_connections(pool, 3)
    assert len({_id(pool, face) for _ in range(9)}) == 1


def test_the_oldest_first(face: Face, at: dict[str, Any]) -> None:
    """`order="fifo"`: all idle connections take turns."""
    pool = face.pool(**at, order="fifo")
    face.open_connections(pool, 3)
    ids = [_id(pool, face) for _ in range(9)]
    assert len(set(ids[:3])) == 3
    assert ids == ids[:3] * 3


def test_any(face: Face, at: dict[str, Any]) -> None:
    """`order="random"`: all of them are taken, sooner or later, in no order."""
    pool = face.pool(**at, order="random")
    face.open_connections(pool, 3)
    ids = [_id(pool, face) for _ in range(120)]
    assert len(set(ids)) == 3
    assert ids != ids[:3] * 40


def test_each_checkout_looks(face: Face, at: dict[str, Any], watch: Watch) -> None:
    """At each checkout a connection that the server closed is noticed before it is handed out."""
    pool = face.pool(**at, client_name="looked-at")
    client = face.client(pool)
    client.ping()
    watch.kill(*watch.ids("looked-at"))
    assert client.ping() is True
    assert pool.stats().closed == {"invalid": 1}


def test_a_look_costs_no_round_trip(face: Face, at: dict[str, Any], watch: Watch) -> None:
    """The look is no PING: the server sees none."""
    pool = face.pool(**at)
    client = face.client(pool)
    client.get("foo")
    before = watch.calls("ping")
    for _ in range(10):
        client.get("foo")
    assert watch.calls("ping") == before


def test_a_long_rest_is_followed_by_a_ping(face: Face, at: dict[str, Any], watch: Watch) -> None:
    """After `ping_after_idle` a connection answers a PING before it is handed out."""
    pool = face.pool(**at, ping_after_idle=0.0)
    client = face.client(pool)
    client.get("foo")
    before = watch.calls("ping")
    client.get("foo")
    assert watch.calls("ping") > before
    assert pool.stats().connected == 1


def test_the_resting_are_pinged_in_the_background(face: Face, at: dict[str, Any], watch: Watch) -> None:
    """Idle connections are pinged while no caller waits for them, and dead ones go."""
    pool = face.pool(**at, ping_after_idle=0.05, client_name="pinged")
    face.open_connections(pool, 3)
    before = watch.calls("ping")
    assert eventually(lambda: watch.calls("ping") >= before + 6)
    assert pool.stats().open == 3
    watch.kill(*watch.ids("pinged"))
    assert eventually(lambda: pool.stats().open == 0)
    assert pool.stats().closed == {"invalid": 3}


def test_pings_may_be_left_out(face: Face, at: dict[str, Any], watch: Watch) -> None:
    """With `ping_after_idle=None` no connection is ever pinged."""
    pool = face.pool(**at, ping_after_idle=None, max_idle_time=0.2)
    face.open_connections(pool, 2)
    before = watch.calls("ping")
    assert eventually(lambda: pool.stats().open == 0)
    assert watch.calls("ping") == before


def test_so_many_connects_at_once(face: Face, at: dict[str, Any]) -> None:
    """No more than `max_connecting` connects are under way, whatever the demand."""
    pool = face.pool(**at, max_connecting=2, max_connections=20, timeout=60)
    seen = []

    def use() -> None:
        with pool.connection():
            seen.append(pool.stats().connecting)

    doings = [Doing(use) for _ in range(20)]
    while not all(doing.done for doing in doings):
        seen.append(pool.stats().connecting)
    assert [doing.ended() for doing in doings] == [None] * 20
    assert max(seen) <= 2
