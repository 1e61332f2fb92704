"""V: versions of redis-py and of servers that don't go together."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..facts import Facts, ServerFacts
from ..rule import Finding, Severity, rule
from .wording import count

# Each with what is wrong with it, and those of whose requirements exclude it.
_BAD = {
    "8.0.0": "redisvl and redis-om exclude it",
    "4.5.2": "limits excludes it",
    "4.5.3": "limits excludes it",
    "5.0.1": "cashews excludes it",
}


@rule(
    "V1",
    Severity.SEVERE,
    "The server doesn't know HELLO, which redis-py 8 begins with",
    why="""
        redis-py 8 speaks RESP3 by default, and begins each connection with HELLO. Redis before 6.0 and some proxies
        answer with an error, and redis-py doesn't fall back: no connection comes about.
    """,
    seen="""
        HELLO is unknown to the server, and the installed redis-py (or a process of the fleet) is 8.0 or later.
        redpool's pools fall back to RESP2 by themselves.
    """,
    write="""
        ```python
        import redis

        r = redis.Redis(host="localhost", protocol=2)
        r.ping()
        ```
    """,
    source="redis-py #4089.",
    needs=("server",),
)
def no_hello(facts: Facts) -> Iterator[Finding]:
    """Compare the server with the versions that ask it."""
    if facts.server is None or facts.server.hello is not False:
        return
    pools = facts.pools
    if pools and all(pool.ours or pool.protocol == 2 for pool in pools):
        return
    new = sorted({version for version in _versions(facts) if _numbers(version) >= (8,)})
    if new:
        yield Finding(
            f"The server doesn't know HELLO, and redis-py {', '.join(new)} needs it unless told otherwise.",
            {"redis-py": ", ".join(new)},
            "protocol=2",
        )


@rule(
    "V2",
    Severity.SEVERE,
    "A version of redis-py that others avoid",
    why="""
        Some releases had faults in how they keep connections or replies, and were mended soon after. Libraries that
        build on redis-py exclude them in their requirements.
    """,
    seen="The installed redis-py, or that of a process of the fleet, is 8.0.0, 5.0.1, 4.5.2 or 4.5.3.",
    write="""
        ```text
        redis!=8.0.0,!=5.0.1,!=4.5.2,!=4.5.3
        ```
    """,
    source="The requirements of redisvl, redis-om, limits and cashews.",
    needs=("redis-py", "fleet"),
)
def avoided_version(facts: Facts) -> Iterator[Finding]:
    """Look for those versions."""
    for version in sorted(set(_versions(facts)) & set(_BAD)):
        yield Finding(f"redis-py {version} is in use; {_BAD[version]}.", {"redis-py": version}, f"redis!={version}")


@rule(
    "V3",
    Severity.COSTLY,
    "Sharing is off: another parser than hiredis's",
    why="""
        redpool shares a connection between callers only where hiredis reads the replies. With another parser each
        command takes a connection of its own, as over a dedicated pool.
    """,
    seen="The imported pool is a `MultiplexedConnectionPool`, and its connections have another parser.",
    write="""
        Leave `parser_class` out. hiredis comes with redpool; where it can't be imported, reinstall it: `pip install
        hiredis`.
    """,
    source="*Sharing connections*, in these docs.",
    needs=("pool",),
)
def other_parser(facts: Facts) -> Iterator[Finding]:
    """Look at the parser."""
    for pool in facts.pools:
        if pool.multiplexed and pool.parser and "hiredis" not in pool.parser.lower():
            yield Finding(
                f"{pool.where} reads replies by {pool.parser}: callers share nothing.", {"parser": pool.parser}
            )


@rule(
    "V4",
    Severity.COSTLY,
    "A server with many threads, and one connection to it",
    why="""
        Dragonfly, KeyDB and Garnet execute, and a Redis or Valkey with `io-threads` reads and writes, on several
        threads, but each connection belongs to one of them. Over a single shared connection all others are idle.
    """,
    seen="INFO names such a server, or `io-threads` is above 1, and the imported pool has `shared_connections=1`.",
    write="""
        ```python
        import redpool

        pool = redpool.MultiplexedConnectionPool(host="localhost", shared_connections=4)
        ```
    """,
    source="The documentation of these servers.",
    needs=("pool info",),
)
def one_connection(facts: Facts) -> Iterator[Finding]:
    """Compare the server's threads with the shared connections."""
    server = facts.server
    if server is None:
        return
    threads, kind = server.setting("io-threads") or 1, threaded(server)
    for pool in facts.pools:
        if pool.multiplexed and pool.shared_connections == 1 and (kind or threads > 1):
            said = f"is {kind}" if kind else f"has {count(threads, 'I/O thread')}"
            yield Finding(
                f"The server {said}, and {pool.where} shares one connection.",
                {"io-threads": threads, "shared_connections": 1},
                f"shared_connections={min(8, max(2, threads))}",
            )


def threaded(server: ServerFacts) -> str | None:
    """Return the name of a server that executes commands on several threads."""
    said = " ".join(str(server.info.get(name, "")) for name in ("executable", "server_name", "redis_mode")).lower()
    names = {"dragonfly": "Dragonfly", "keydb": "KeyDB", "garnet": "Garnet"}
    return next((name for word, name in names.items() if word in said or f"{word}_version" in server.info), None)


# By the end of the host's name: what it is, and what its operators say of connections.
_MANAGED = {
    "cache.amazonaws.com": (
        "Amazon ElastiCache",
        "65 000 clients a node, which can't be changed; CONFIG is not available; its load balancers forget a "
        "connection after 350 s of silence",
    ),
    "redis.cache.windows.net": (
        "Azure Cache for Redis",
        "connections are closed after ten minutes of silence, and tokens of Entra ID end within a day; the number of "
        "clients depends on the size",
    ),
    "aivencloud.com": ("Aiven", "four clients for each MB of its memory, and at least 10 000"),
    "redis-cloud.com": ("Redis Cloud", "the number of clients depends on the plan"),
    "redislabs.com": ("Redis Cloud", "the number of clients depends on the plan"),
    "upstash.io": ("Upstash", "the number of clients depends on the plan"),
}


@rule(
    "V5",
    Severity.NOTE,
    "A managed service, with limits of its own",
    why="""
        A managed service has limits that no command tells, such as how long a connection may be silent and which
        commands are forbidden.
    """,
    seen="The host's name ends like those of a service that the doctor knows.",
    write="""
        Set `max_connections` by the service's limit, `ping_after_idle` (30 s by default) below its patience, and
        `max_lifetime` below the life of its tokens.
    """,
    source="The operators' documentation.",
    needs=("server",),
)
def managed(facts: Facts) -> Iterator[Finding]:
    """Recognize a service by its host's name."""
    host = (facts.server.host if facts.server else "").lower().rstrip(".")
    for end, (name, says) in _MANAGED.items():
        if host.endswith(f".{end}"):
            yield Finding(f"This is {name}: {says}.", {"service": name})


@rule(
    "V6",
    Severity.COSTLY,
    "Client-side caching that the server is too old for",
    why="""
        redis-py refuses client-side caching where the server isn't Redis 7.4 or later, Valkey included: every connect
        fails.
    """,
    seen="The imported pool has a cache, and INFO says Redis below 7.4, or Valkey.",
    write="""
        Leave `cache` and `cache_config` out, or move to Redis 7.4.
    """,
    source="redis-py's own message, *client-side caching is supported by Redis 7.4 or later*.",
    needs=("pool info",),
)
def too_old_for_caching(facts: Facts) -> Iterator[Finding]:
    """Compare the server's version with what redis-py asks for."""
    server = facts.server
    if server is None or not server.version:
        return
    valkey = "valkey_version" in server.info
    for pool in facts.pools:
        if pool.caches and (valkey or server.version < (7, 4)):
            name = f"Valkey {server.info['valkey_version']}" if valkey else f"Redis {server.info['redis_version']}"
            yield Finding(f"{pool.where} caches, and the server is {name}: its connects fail.", {"server": name})


def _versions(facts: Facts) -> Iterator[str]:
    yield from (process.redis_py for process in (facts.fleet.processes if facts.fleet else ()))
    yield from (facts.redis_py,) if facts.redis_py else ()


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])
