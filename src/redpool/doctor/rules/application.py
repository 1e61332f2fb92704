"""A: what the application asks for."""

from __future__ import annotations

from collections.abc import Iterator

from ..facts import Facts, Pattern
from ..rule import Finding, Severity, rule
from .wording import count, seconds

_ONE_ROUND_TRIP = 0.0005  # within a data center
# Commands whose time grows with the whole keyspace, and those that return a whole value.
_ALL_KEYS = ("KEYS", "FLUSHALL", "FLUSHDB")
_WHOLE = ("SMEMBERS", "HGETALL", "LRANGE", "ZRANGE", "HKEYS", "HVALS", "SUNION", "SINTER", "SDIFF")


@rule(
    "A2",
    Severity.COSTLY,
    "A command for each item",
    why="""
        Each command waits for its reply before the next one is sent. A loop over a hundred items waits for a hundred
        round trips, which one MGET or pipeline makes one.
    """,
    seen="A `for` loop in a function that handles requests or tasks calls a command of a client for each item.",
    write="""
        ```python
        import redis

        r = redis.Redis(host="localhost")
        keys = [f"user:{number}" for number in range(100)]
        values = r.mget(keys)
        with r.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.hget(key, "name")
            names = pipe.execute()
        ```
    """,
    source="Redis documentation, *pipelining*.",
    needs=("code",),
)
def command_per_item(facts: Facts) -> Iterator[Finding]:
    """Look at the code."""
    for sighting in facts.sighted(Pattern.COMMAND_PER_ITEM):
        yield Finding(
            f"{sighting.what} is called for each item; 100 items wait for 100 round trips, about "
            f"{seconds(100 * _ONE_ROUND_TRIP)} within a data center.",
            where=sighting,
        )


@rule(
    "A3",
    Severity.SEVERE,
    "A request walks through the whole keyspace, or a whole value",
    why="""
        KEYS, FLUSHALL and FLUSHDB take time in proportion to all keys, and SMEMBERS, HGETALL and the like to the
        whole value. The server does nothing else meanwhile: all callers of all processes wait.
    """,
    seen="""
        In the code: KEYS, FLUSHALL or FLUSHDB in a function that handles requests or tasks. On the server: KEYS
        called while the doctor looked, or one of all these in the slow log; then the code that calls it is named,
        too.
    """,
    write="""
        ```python
        import redis

        r = redis.Redis(host="localhost")
        for key in r.scan_iter(match="user:*", count=500):
            r.unlink(key)
        for field, value in r.hscan_iter("greetings", count=500):
            print(field, value)
        ```
    """,
    source="Azure Cache for Redis FAQ; Redis documentation, *KEYS*.",
    needs=("code", "info", "slowlog"),
)
def whole_keyspace(facts: Facts) -> Iterator[Finding]:
    """Look at the code, at the server's counts and at its slow log."""
    for sighting in facts.sighted(Pattern.WHOLE_KEYSPACE):
        yield Finding(f"{sighting.what} is called in {sighting.function}, for a request or task.", where=sighting)
    server = facts.server
    if server is None:
        return
    now, _ = server.commands("keys")
    if now:
        yield Finding(
            f"KEYS was called {count(now, 'time')} within {seconds(round(server.seconds, 2))}.",
            {"KEYS": now, "seconds": round(server.seconds, 2)},
        )
    slow: dict[str, float] = {}
    for entry in server.slow or ():
        if entry.command in (*_ALL_KEYS, *_WHOLE):
            slow[entry.command] = max(slow.get(entry.command, 0.0), entry.seconds)
    for command, longest in slow.items():
        places = [each for each in facts.sighted(Pattern.WHOLE_VALUE) if each.what == command]
        severity = None if command in _ALL_KEYS else Severity.COSTLY
        for place in (*places, *([] if places else [None])):
            yield Finding(
                f"{command} is in the slow log, with {seconds(longest)}.", {"longest": longest}, None, place, severity
            )
