"""C: what the server's CLIENT LIST says of who is connected."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from statistics import median

from ...fleet.model import Owner
from ..facts import Client, Facts, Pattern
from ..rule import Finding, Severity, rule
from .wording import count, most_common, seconds, share, size

_LONG_IDLE = 300.0  # redpool's max_idle_time
_FORGOTTEN = 60.0
_LARGE = 100 * 1024  # Azure's advice: no more than 100 kB at once
_SHOWN = 5


@rule(
    "C1",
    Severity.COSTLY,
    "Connections that don't say whose they are",
    why="""
        When the server is full, or a client misbehaves, CLIENT LIST is all there is to go by. Connections without a
        name can only be told apart by their addresses, which behind NAT or in containers say nothing.
    """,
    seen="Connections have neither a client's nor a library's name; or those of one service have several libraries'.",
    write="""
        redpool's connections are named by themselves. Elsewhere:

        ```python
        import redis

        r = redis.Redis(host="localhost", client_name="checkout")
        r.ping()
        ```
    """,
    source="redis-py #2856; Redis documentation, *CLIENT SETNAME* and *CLIENT SETINFO*.",
    needs=("clients",),
)
def nameless(facts: Facts) -> Iterator[Finding]:
    """Count the connections without a name, and the libraries of each service."""
    unnamed = [client for client in facts.clients if not client.name and not client.library]
    if unnamed:
        yield Finding(
            f"{count(len(unnamed), 'connection')} of {len(facts.clients)} have no name. They come from: "
            f"{most_common(client.host for client in unnamed)}.",
            {"unnamed": len(unnamed), "connections": len(facts.clients)},
        )
    libraries: dict[str, Counter[str]] = defaultdict(Counter)
    for client in facts.clients:
        if client.process and client.library:
            libraries[client.process.partition("@")[0]][client.library] += 1
    for service, found in libraries.items():
        if len(found) > 1:
            yield Finding(
                f"{service} connects by {len(found)} libraries: {most_common(found.elements())}.",
                {"libraries": len(found)},
                severity=Severity.NOTE,
            )


@rule(
    "C2",
    Severity.COSTLY,
    "Far more connections are kept than used",
    why="""
        Each idle connection takes memory of the server and one of its `maxclients`, and a connect after each restart.
        A burst opens them; a pool that doesn't shrink keeps them for ever, as redis-py's pools do.
    """,
    seen="""
        At least ten connections of one owner, and more than half of what it has, are idle for more than 300 s. How
        long a connection rests between two uses isn't known: a pool that is used less often than that is reported,
        too.
    """,
    write="""
        ```python
        import redpool

        pool = redpool.ConnectionPool(host="localhost", max_connections=10, max_idle_time=60)
        ```
    """,
    source="redis-py #2992, #824, #445.",
    needs=("clients",),
)
def idle_too_long(facts: Facts) -> Iterator[Finding]:
    """Look for owners most of whose connections are idle for long."""
    for owner, clients in _by_owner(_in_pools(facts)).items():
        idle = [client.idle for client in clients if client.idle > _LONG_IDLE]
        if len(idle) >= 10 and len(idle) > len(clients) / 2:
            yield Finding(
                f"{len(idle)} of the {len(clients)} connections of {owner} are idle for more than "
                f"{seconds(_LONG_IDLE)}, half of these for {seconds(median(idle))} or longer.",
                {"idle": len(idle), "connections": len(clients), "median idle": median(idle)},
            )


@rule(
    "C3",
    Severity.SEVERE,
    "Connections of processes that are gone",
    why="""
        A process that dies with its machine, or behind a path that is cut, doesn't hang up. The server keeps its
        connections until TCP keepalive or `timeout` ends them. So each crash and each deploy takes some of
        `maxclients`.
    """,
    seen="Connections are named by a redpool pool whose process doesn't report to the fleet; others of its service do.",
    write="""
        ```text
        tcp-keepalive 60
        ```

        and for those that are there now `CLIENT KILL ID`, once it is sure that the process is gone. A process that
        lives and doesn't publish any more looks the same.
    """,
    source="Redis documentation, *clients*: TCP keepalive exists for this.",
    needs=("fleet",),
)
def orphaned(facts: Facts) -> Iterator[Finding]:
    """Gather the orphaned connections of each process."""
    fleet = facts.fleet
    orphans: dict[str, list[int]] = defaultdict(list)
    reporting = {process.service for process in fleet.processes} if fleet else set()
    for client in fleet.server.clients if fleet and fleet.server else ():
        if client.owner is Owner.ORPHANED and (client.process or "").partition("@")[0] in reporting:
            orphans[client.process or client.name].append(client.id)
    for process, ids in orphans.items():
        kill = "\n".join(f"CLIENT KILL ID {number}" for number in ids[:_SHOWN])
        yield Finding(
            f"{count(len(ids), 'connection')} of {process} are open, and that process reports no more.",
            {"connections": len(ids)},
            kill + ("" if len(ids) <= _SHOWN else f"\n# and {len(ids) - _SHOWN} more"),
        )


@rule(
    "C4",
    Severity.COSTLY,
    "Blocking commands take the connections that requests need",
    why="""
        A connection that waits in BLPOP, XREAD BLOCK or the like serves no other call meanwhile. In a pool that
        serves requests, too, a few of them are enough to make requests wait, or to end in `PoolTimeout`.
    """,
    seen="""
        More than half of a pool's connections are blocked (flag `b` of CLIENT LIST, or what the imported pool's
        borrowers run); or the code calls a blocking command on a client with ten connections or fewer.
    """,
    write="""
        ```python
        import redis, redpool

        requests = redis.Redis(connection_pool=redpool.ConnectionPool(host="localhost", max_connections=10))
        jobs = redis.Redis(connection_pool=redpool.ConnectionPool(host="localhost", max_connections=4, name="jobs"))
        job = jobs.blpop("jobs", timeout=0.01)
        ```
    """,
    source="StackExchange.Redis #1961; go-redis #1147.",
    needs=("clients", "pool", "code"),
)
def blocked(facts: Facts) -> Iterator[Finding]:
    """Compare the blocked connections with the others of the same pool."""
    for owner, clients in _by_owner(client for client in _in_pools(facts) if client.name).items():
        waiting = [client for client in clients if client.blocked]
        if 2 * len(waiting) > len(clients) > len(waiting):
            yield Finding(
                f"{len(waiting)} of the {len(clients)} connections of {owner} wait in blocking commands: "
                f"{most_common(client.command for client in waiting)}.",
                {"blocked": len(waiting), "connections": len(clients)},
            )
    for pool in facts.pools:
        commands = [name for name in pool.commands if name.upper() in BLOCKING]
        if 2 * len(commands) > pool.max_connections:
            yield Finding(
                f"{len(commands)} of the {pool.max_connections} connections of {pool.where} are in blocking commands.",
                {"blocked": len(commands), "max_connections": pool.max_connections},
            )
    for sighting in facts.sighted(Pattern.BLOCKING_ON_SMALL_POOL):
        yield Finding(
            f"{sighting.what} keeps one of {count(sighting.size or 0, 'connection')} for as long as it waits.",
            {"max_connections": sighting.size or 0},
            where=sighting,
        )


BLOCKING = frozenset(
    (
        "BLPOP",
        "BRPOP",
        "BRPOPLPUSH",
        "BLMOVE",
        "BLMPOP",
        "BZPOPMIN",
        "BZPOPMAX",
        "BZMPOP",
        "XREAD",
        "XREADGROUP",
        "WAIT",
    )
)
"""Commands that wait on the server, those of streams with BLOCK only."""


@rule(
    "C5",
    Severity.COSTLY,
    "Several subscribers in one process",
    why="""
        Each `PubSub` has a connection of its own, and the server sends each message to each of them. Several with the
        same channels in one process multiply both.
    """,
    seen="""
        Two or more connections with the same name of redpool's have subscribed to the same number of channels and
        patterns. Which channels these are CLIENT LIST doesn't say.
    """,
    write="""
        Subscribe once in each process, and hand messages on to those who want them, through queues of the process.
    """,
    source="suna #2732.",
    needs=("clients",),
)
def many_subscribers(facts: Facts) -> Iterator[Finding]:
    """Count the subscribers of a process that are alike."""
    alike = Counter((client.process, client.channels) for client in facts.clients if client.subscriptions)
    for (process, channels), number in alike.items():
        if process and number > 1:
            yield Finding(
                f"{process} has {number} connections that have subscribed to {count(sum(channels), 'channel')} each.",
                {"subscribers": number, "channels": sum(channels)},
            )


@rule(
    "C6",
    Severity.COSTLY,
    "A transaction or WATCH was left open",
    why="""
        A connection in MULTI queues what it is sent instead of answering; with WATCH the next transaction on it may
        fail for reasons that are not its own. Such a session was left over, and its connection is lost to the pool.
    """,
    seen="A connection is in MULTI, or watches keys, and is idle for more than 60 s.",
    write="""
        ```python
        import redis

        r = redis.Redis(host="localhost")
        with r.pipeline() as pipe:  # leaving the block ends WATCH and MULTI, whatever happens
            pipe.watch("stock")
            pipe.multi()
            pipe.set("stock", 1)
            pipe.execute()
        ```

        `pool.dump()` of a pool with `leak_after` says which line took it.
    """,
    source="redis-py #3124; Redis documentation, *transactions*.",
    needs=("clients",),
)
def left_open(facts: Facts) -> Iterator[Finding]:
    """Look for sessions that are idle."""
    for client in facts.clients:
        if (client.transaction >= 0 or client.watched > 0) and client.idle > _FORGOTTEN:
            state = f"watches {count(client.watched, 'key')}" if client.watched else "is in MULTI"
            yield Finding(
                f"A connection of {client.owner} {state}, and is idle for {seconds(client.idle)}.",
                {"idle": client.idle, "watched": client.watched, "client": client.id},
            )


@rule(
    "C7",
    Severity.COSTLY,
    "One client changes its database all the time",
    why="""
        SELECT before each command is a command more, and on a connection that others use afterwards a wrong database:
        what is written goes where it isn't looked for.
    """,
    seen="""
        COMMANDSTATS counted more than one SELECT a second during the look, beside those of new connections, and more
        than 5 % of all commands.
    """,
    write="""
        A pool for each database; or one database, and a prefix of the keys:

        ```python
        import redis, redpool

        cache = redis.Redis(connection_pool=redpool.ConnectionPool(host="localhost", db=0, name="cache"))
        sessions = redis.Redis(connection_pool=redpool.ConnectionPool(host="localhost", db=1, name="sessions"))
        ```
    """,
    source="Redis documentation, *SELECT*; redis-py #4.",
    needs=("info",),
)
def selecting(facts: Facts) -> Iterator[Finding]:
    """Compare the SELECTs with connections and commands."""
    server = facts.server
    if server is None or server.seconds <= 0:
        return
    selects, _ = server.commands("select")
    beside = selects - (server.grew("total_connections_received") or 0)
    commands = server.grew("total_commands_processed") or 0
    if beside / server.seconds > 1 and beside > 0.05 * commands:
        yield Finding(
            f"{beside / server.seconds:.3g} SELECTs a second, {share(beside / max(commands, beside))} of all commands.",
            {"SELECT": selects, "commands": commands, "seconds": round(server.seconds, 2)},
        )


@rule(
    "C8",
    Severity.NOTE,
    "Connections of the same age will end together",
    why="""
        Connections that were opened at once reach `max_lifetime` at once. Without jitter the pool replaces all of
        them in the same moment, and so do its siblings that were started with it.
    """,
    seen="""
        The imported pool has a `max_lifetime` and a `lifetime_jitter` below 0.01; with CLIENT LIST, at least four
        connections of its name are of the same age.
    """,
    write="""
        ```python
        import redpool

        pool = redpool.ConnectionPool(host="localhost", max_lifetime=3600, lifetime_jitter=0.1)  # the defaults
        ```
    """,
    source="go-redis PR #3666.",
    needs=("pool",),
)
def same_age(facts: Facts) -> Iterator[Finding]:
    """Look for a lifetime without jitter."""
    for pool in facts.pools:
        if pool.max_lifetime is None or pool.lifetime_jitter >= 0.01:
            continue
        ages = Counter(client.age for client in facts.clients if f"/{pool.name}@" in client.name)
        together = max(ages.values(), default=0)
        said = f", and {together} of its connections are of the same age" if together >= 4 else ""
        yield Finding(
            f"All connections of {pool.where} end after exactly {seconds(pool.max_lifetime)}{said}.",
            {"max_lifetime": pool.max_lifetime, "lifetime_jitter": pool.lifetime_jitter, "same age": together},
            "lifetime_jitter=0.1",
        )


@rule(
    "C9",
    Severity.COSTLY,
    "Large values, or very large pipelines",
    why="""
        While a large reply is written, and a large request read, the others wait; on a connection that callers share
        those behind it wait for its whole way over the network. Many such buffers are memory that the data lacks.
    """,
    seen="""
        A connection has more than 1 MB in `qbuf` or `omem`; or, where CLIENT LIST counts (`tot-net-out`, `tot-cmds`),
        its replies are larger than 100 kB in the mean.
    """,
    write="""
        Store large values in parts, or compressed; read ranges of them (GETRANGE, HMGET, ZRANGE with LIMIT); end a
        pipeline after some hundred commands.
    """,
    source="Azure's page on server load; Redis documentation, *CLIENT LIST*.",
    needs=("clients",),
)
def large_values(facts: Facts) -> Iterator[Finding]:
    """Look at buffers, and at the mean size of replies."""
    for client in facts.clients:
        buffered = client.query_buffer + client.output
        mean = client.bytes_out / client.commands if client.commands > 0 and client.bytes_out >= 0 else 0.0
        if buffered > 1024 * 1024 and not client.subscriptions:
            yield Finding(
                f"A connection of {client.owner} has {size(buffered)} in its buffers.",
                {"qbuf": client.query_buffer, "omem": client.output, "client": client.id},
            )
        elif mean > _LARGE and client.commands >= 10:
            yield Finding(
                f"Replies to {client.owner} have {size(mean)} in the mean, over {client.commands} commands.",
                {"mean reply": round(mean), "commands": client.commands, "client": client.id},
            )


@rule(
    "C10",
    Severity.NOTE,
    "Everything runs as the default user, in plain text",
    why="""
        The user `default` may do everything, FLUSHALL and CONFIG included; over a network without TLS its password
        and all data can be read on the way.
    """,
    seen="All connections are of the user `default`, the server is on another machine, and the URL has no TLS.",
    write="""
        ```text
        ACL SETUSER checkout on >password ~checkout:* +@all -@dangerous
        ```

        and `rediss://` in the URL.
    """,
    source="Redis documentation, *security* and *ACL*.",
    needs=("clients",),
)
def default_user(facts: Facts) -> Iterator[Finding]:
    """Look at users and at the way."""
    server, users = facts.server, {client.user for client in facts.clients}
    if server is not None and not server.local and not server.encrypted and users == {"default"}:
        yield Finding(
            f"All {count(len(facts.clients), 'connection')} are of the user default, and the URL has no TLS.",
            {"connections": len(facts.clients)},
        )


def _in_pools(facts: Facts) -> Iterator[Client]:
    """Yield the clients that are neither subscribers nor monitors."""
    return (client for client in facts.clients if not client.subscriptions)


def _by_owner(clients: Iterable[Client]) -> Mapping[str, list[Client]]:
    owners: dict[str, list[Client]] = defaultdict(list)
    for client in clients:
        owners[client.owner].append(client)
    return owners
