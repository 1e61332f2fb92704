"""Whatever options and URLs are given: a pool is made, or what is wrong is said by name."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import redpool
import redpool.asyncio

POOLS: list[Any] = [redpool.ConnectionPool, redpool.asyncio.ConnectionPool]
COMPLAINTS = (ValueError, TypeError, redis.RedisError)

OWN = [
    "max_connections", "timeout", "max_waiting", "min_idle", "max_idle_time", "max_lifetime", "lifetime_jitter",
    "max_connecting", "validate_after_idle", "ping_after_idle", "order", "leak_after", "retry_sent", "name",
    "instruments",
]  # fmt: skip
THEIRS = [
    "db", "username", "password", "socket_timeout", "socket_connect_timeout", "retry", "encoding", "encoding_errors",
    "decode_responses", "health_check_interval", "client_name", "protocol", "max_conections", "tiemout", "queue_class",
]  # fmt: skip

numbers = st.one_of(st.integers(-2, 5), st.floats(), st.sampled_from([3000, -(10**9), 0.5, 1e308]))
values = st.one_of(
    st.none(), st.booleans(), numbers, st.text(max_size=5), st.binary(max_size=3), st.just([]), st.just({})
)
options = st.dictionaries(st.sampled_from(OWN + THEIRS), values, max_size=3)

fuzzed = settings(
    max_examples=250,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.fixture
def rejected() -> Iterator[int]:
    """A port at which every connect is refused: pools that want connections at once don't get any."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]
    for thread in [each for each in threading.enumerate() if each.name.startswith("redpool ")]:
        thread.join(20.0)
        assert not thread.is_alive(), thread


def close(pool: Any) -> None:
    """A pool for event loops that was on none has nothing to close."""
    if isinstance(pool, redpool.ConnectionPool):
        pool.shutdown(timeout=0)


@pytest.mark.parametrize("pool_class", POOLS, ids=["threads", "asyncio"])
@fuzzed
@given(options=options)
def test_an_option_is_taken_or_named(pool_class: Any, options: dict[str, Any], rejected: int) -> None:
    """Nonsense is a `ValueError`, a `TypeError` or redis-py's error, whose message has the option's name."""
    try:
        pool = pool_class(host="127.0.0.1", port=rejected, **options)
    except COMPLAINTS as error:
        complaint = repr(error)
    else:
        complaint = ""
        assert pool.stats().open == 0
        repr(pool)
        close(pool)
    assert not complaint or any(name in complaint for name in options), f"{options}: {complaint}"


LETTERS = "0123456789abc:/@?&=%[].-_ é"
words = st.text(LETTERS, max_size=8)
# A pool makes its places at once: a `max_connections` of eight digits would fill 20 GB with them.
settings_spelled = st.one_of(
    st.text(LETTERS, max_size=4), st.sampled_from(["1", "0", "-1", "true", "None", "nan", "inf"])
)
queries = st.dictionaries(st.sampled_from(OWN + THEIRS), settings_spelled)
urls = st.one_of(
    st.builds("{}://{}".format, st.sampled_from(["redis", "rediss", "unix", "http", ""]), words),
    st.builds(
        lambda place, db, query: f"redis://{place}/{db}?{'&'.join(f'{key}={value}' for key, value in query.items())}",
        st.sampled_from(["127.0.0.1:{port}", "user:secret@127.0.0.1:{port}", ":secret@127.0.0.1:{port}"]),
        st.one_of(st.sampled_from(["", "0", "15"]), words),
        queries,
    ),
)


@pytest.mark.parametrize("pool_class", POOLS, ids=["threads", "asyncio"])
@fuzzed
@given(url=urls)
def test_a_url_is_taken_or_refused(pool_class: Any, url: str, rejected: int) -> None:
    """In the same way; and no password is shown."""
    try:
        pool = pool_class.from_url(url.replace("{port}", str(rejected)))
    except COMPLAINTS as error:
        shown = repr(error)
    else:
        shown = repr(pool)
        close(pool)
    assert "secret" not in shown
