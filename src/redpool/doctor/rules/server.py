"""S: the server's limits, settings and state."""

from __future__ import annotations

from collections.abc import Iterator

from ...core.config import PoolConfig
from ..facts import Facts, ServerFacts, counted
from ..rule import Finding, Seconds, Severity, rule
from .wording import count, most_common, seconds, share, size

_NEARLY_FULL = 0.8
# Load balancers forget a connection that is silent for longer: 350 s on AWS, ten minutes on Azure.
_FORGOTTEN = 350.0
_RECENT = 60.0  # the part of the slow log, in seconds, that says how often
_DEFAULT_SOCKET_TIMEOUT = 5.0  # redis-py's since 8.0


@rule(
    "S1",
    Severity.SEVERE,
    "The server is nearly full",
    why="""
        At `maxclients` the server turns every further connection away, that of the administrator who wants to look at
        it included. What is connected goes on; what reconnects or starts gets an error.
    """,
    seen="""
        Clients, replicas and connections of the cluster bus together are more than 80 % of `maxclients` (both from
        INFO, so CONFIG may be forbidden). CLIENT LIST says whose they are.
    """,
    write="""
        Lower `max_connections`, or the number of processes, or raise the server's limit:

        ```text
        maxclients 20000
        ```
    """,
    source="Redis documentation, *clients*; netdata's guide *Redis connection exhaustion*.",
    needs=("info",),
)
def nearly_full(facts: Facts) -> Iterator[Finding]:
    """Compare the connections with the limit."""
    server = _of(facts)
    parts = [server.number(name) or 0.0 for name in ("connected_clients", "connected_slaves", "cluster_connections")]
    limit = server.max_clients
    if limit and sum(parts) > _NEARLY_FULL * limit:
        used = sum(parts) / limit
        holders = most_common(client.owner for client in facts.clients)
        whose = f" Most are held by: {holders}." if holders else ""
        yield Finding(
            f"{sum(parts):g} of {limit} connections are taken ({share(used)}); then it refuses everyone.{whose}",
            {"connected": sum(parts), "maxclients": limit, "share": round(used, 3)},
        )


@rule(
    "S2",
    Severity.SEVERE,
    "The server's limit was lowered by its file descriptors",
    why="""
        The server needs a file descriptor for each client and 32 for itself. Where the system allows it fewer, it
        lowers `maxclients` by itself as it starts, says so once in its log, and is full long before the figure in its
        configuration.
    """,
    seen="""
        The limit in force is 32 below a usual limit of file descriptors (1024, 4096 and so on), or below what CONFIG
        GET says.
    """,
    write="""
        Raise the limit for the server's process, and restart it; with systemd in its unit:

        ```ini
        [Service]
        LimitNOFILE=65535
        ```
    """,
    source="The server's own start-up log; Redis documentation, *clients*.",
    needs=("info", "config"),
)
def lowered_limit(facts: Facts) -> Iterator[Finding]:
    """Recognize a limit that stems from one of file descriptors."""
    server = _of(facts)
    limit, configured = server.max_clients, server.setting("maxclients")
    if limit is None:
        return
    descriptors = limit + 32
    if configured is not None and limit < configured:
        yield Finding(
            f"It takes {limit} clients, though maxclients is {configured}.",
            {"maxclients": configured, "in force": limit},
        )
    elif 256 <= descriptors <= 65536 and descriptors & (descriptors - 1) == 0:
        yield Finding(
            f"It takes {limit} clients, which is {descriptors} file descriptors less the 32 that it needs itself: "
            f"it has probably lowered maxclients as it started.",
            {"in force": limit, "file descriptors": descriptors},
        )


@rule(
    "S3",
    Severity.SEVERE,
    "The server turns connections away",
    why="""
        Each connection beyond `maxclients` is closed with *max number of clients reached*. Callers get that error, or
        wait for a connection of their pool that comes free.
    """,
    seen="`rejected_connections` of INFO grew while the doctor looked.",
    write="""
        See who holds them (S1), and lower their `max_connections`. redpool makes do with the connections that it has
        meanwhile, and tries again about once a second.
    """,
    source="Redis documentation, *INFO*; redis-py #2400.",
    needs=("info",),
)
def rejecting(facts: Facts) -> Iterator[Finding]:
    """Look whether connections were rejected during the look."""
    server = _of(facts)
    rejected = server.grew("rejected_connections") or 0
    if rejected:
        trying = most_common(client.host for client in server.newcomers)
        whose = f" Those that got in meanwhile come from: {trying}." if trying else ""
        yield Finding(
            f"It turned {count(rejected, 'connection')} away within {seconds(round(server.seconds, 2))}.{whose}",
            {"rejected": rejected, "seconds": round(server.seconds, 2), "maxclients": server.max_clients or 0},
        )


@rule(
    "S4",
    Severity.SEVERE,
    "The server closes idle connections before the pool does",
    why="""
        With `timeout` the server hangs up on clients that are idle for that long. A pool whose connections may be
        idle for longer finds them closed, just when a caller needs one: at best it connects again, at worst the
        command fails.
    """,
    seen="""
        The server's `timeout` is above 0, and not above the pool's `max_idle_time`, or below its `ping_after_idle`.
        Without `--pool` redpool's defaults are meant: 300 s and 30 s. redis-py's own pools never close an idle
        connection.
    """,
    write="""
        Have the pool close them first:

        ```python
        import redpool

        pool = redpool.ConnectionPool(host="localhost", max_idle_time=60, ping_after_idle=15)  # timeout 120
        ```

        or have the server keep them: `timeout 0`.
    """,
    source="redis.conf; celery #3932, where `timeout 5` broke workers.",
    needs=("config",),
)
def closes_idle(facts: Facts) -> Iterator[Finding]:
    """Compare the server's patience with the pools'."""
    timeout = _of(facts).setting("timeout") or 0
    if timeout <= 0:
        return
    default = PoolConfig()
    usual = ("a pool with redpool's defaults", default.max_idle_time, default.ping_after_idle)
    own = f"max_idle_time={max(1, timeout // 2)}, ping_after_idle={max(1, timeout // 4)}"
    pools = [(pool.where, pool.max_idle_time, pool.ping_after_idle) for pool in facts.pools]
    ours = all(pool.ours for pool in facts.pools)
    for where, idle, ping in pools or [usual]:
        late = "never closes them" if idle is None else f"keeps them for {seconds(idle)}"
        if idle is None or timeout <= idle or (ping is not None and timeout < ping):
            yield Finding(
                f"The server hangs up on connections that are idle for {timeout} s, and {where} {late}.",
                {"timeout": timeout, "max_idle_time": _or_none(idle), "ping_after_idle": _or_none(ping)},
                f"{own}  # or: timeout 0" if ours else f"timeout 0  # or a pool of redpool's: {own}",
            )


@rule(
    "S5",
    Severity.COSTLY,
    "Nothing keeps idle connections alive, or finds dead ones",
    why="""
        A load balancer or NAT forgets a connection that is silent for some minutes (350 s on AWS, ten on Azure),
        without telling either side. The next command on it waits for the whole `socket_timeout`, and the server keeps
        clients that are long gone.
    """,
    seen="""
        `tcp-keepalive` is 0 or more than 350 s, the server isn't on this machine, and the pool neither pings idle
        connections in time nor has `socket_keepalive`.
    """,
    write="""
        ```text
        tcp-keepalive 60
        ```

        and in the pool `ping_after_idle=30` (redpool's default), or `health_check_interval=30` of redis-py.
    """,
    source="AWS on the idle timeout of its network load balancer; Azure's page on connection resilience.",
    needs=("config",),
)
def not_kept_alive(facts: Facts) -> Iterator[Finding]:
    """Look for something that would notice a path that is gone."""
    server = _of(facts)
    keepalive = server.setting("tcp-keepalive")
    if server.local or keepalive is None or 0 < keepalive <= _FORGOTTEN:
        return
    pinged = [pool for pool in facts.pools if (pool.ping_after_idle or _FORGOTTEN) < _FORGOTTEN or pool.keepalive]
    if len(pinged) < len(facts.pools) or not facts.pools:
        said = "is off" if not keepalive else f"waits {keepalive} s"
        yield Finding(
            f"The server's tcp-keepalive {said}: what lies between forgets a silent connection sooner.",
            {"tcp-keepalive": keepalive},
            "tcp-keepalive 60",
        )


@rule(
    "S6",
    Severity.COSTLY,
    "The eviction policy doesn't suit what is stored",
    why="""
        With `noeviction` a full cache refuses every write. With `allkeys-*` a full server throws away any key, the
        jobs of a task queue included.
    """,
    seen="""
        `maxmemory` is set, and either the policy is `noeviction` and the server has given OOM errors, or it is
        `allkeys-*` and there are keys of Celery, RQ, arq or taskiq.
    """,
    write="""
        Give the cache and the queue a server each. For the cache:

        ```text
        maxmemory-policy allkeys-lru
        ```
    """,
    source="Redis documentation, *key eviction*.",
    needs=("info",),
)
def wrong_eviction(facts: Facts) -> Iterator[Finding]:
    """Compare the policy with the errors and with the queues."""
    server = _of(facts)
    limit, policy = server.number("maxmemory") or 0, str(server.info.get("maxmemory_policy", ""))
    refused = server.errors().get("OOM", 0)
    if limit and policy == "noeviction" and refused:
        yield Finding(
            f"It has refused {count(refused, 'command')} since its {size(limit)} are full, and evicts nothing.",
            {"maxmemory": limit, "OOM errors": refused, "maxmemory-policy": policy},
        )
    if limit and policy.startswith("allkeys-") and server.queues:
        yield Finding(
            f"It evicts any key at {size(limit)}, and holds a task queue ({', '.join(server.queues)}): jobs vanish.",
            {"maxmemory": limit, "maxmemory-policy": policy},
            "maxmemory-policy noeviction  # for the queue's server",
        )


@rule(
    "S7",
    Severity.COSTLY,
    "Clients' buffers take memory from the data",
    why="""
        Buffers of clients count towards `maxmemory`. Large pipelines, large values and slow readers make the server
        evict data to keep them, unless `maxmemory-clients` bounds them.
    """,
    seen="`maxmemory-clients` is 0, and the `tot-mem` of all clients together is more than 5 % of `maxmemory`.",
    write="""
        ```text
        maxmemory-clients 5%
        ```
    """,
    source="redis #13252; Redis documentation, *clients*.",
    needs=("config clients",),
)
def unbounded_buffers(facts: Facts) -> Iterator[Finding]:
    """Add up the clients' memory."""
    server = _of(facts)
    limit, used = server.setting("maxmemory") or 0, sum(client.memory for client in server.clients or ())
    if limit and server.config.get("maxmemory-clients") == "0" and used > 0.05 * limit:
        greatest = max(server.clients or (), key=lambda client: client.memory)
        yield Finding(
            f"Clients' buffers take {size(used)}, {share(used / limit)} of maxmemory; most has {greatest.owner}.",
            {"buffers": used, "maxmemory": limit, "share": round(used / limit, 3)},
        )


@rule(
    "S8",
    Severity.SEVERE,
    "A subscriber reads too slowly",
    why="""
        The server keeps what a subscriber hasn't read yet, up to `client-output-buffer-limit pubsub`. Beyond it the
        subscriber is disconnected, and all that it had not read is lost.
    """,
    seen="A subscriber's `omem` in CLIENT LIST is more than half of the limit, the hard or the soft one.",
    write="""
        Read in a thread or task of its own that does nothing else, and hand messages on through a queue; or subscribe
        to fewer channels. More room only delays it:

        ```text
        client-output-buffer-limit pubsub 64mb 16mb 60
        ```
    """,
    source="redis.conf; Redis documentation, *clients*.",
    needs=("config clients",),
)
def slow_subscriber(facts: Facts) -> Iterator[Finding]:
    """Compare what subscribers have not read with the limit."""
    words = _of(facts).config.get("client-output-buffer-limit", "").split()
    if "pubsub" not in words:
        return
    place = words.index("pubsub")
    limits = [int(word) for word in words[place + 1 : place + 3] if word.isdigit() and int(word)]
    for client in facts.clients:
        if limits and client.subscriptions and client.output > min(limits) / 2:
            yield Finding(
                f"{client.owner} has not read {size(client.output)}; at {size(min(limits))} it will be disconnected.",
                {"unread": client.output, "limit": min(limits), "client": client.id},
            )


@rule(
    "S9",
    Severity.NOTE,
    "The server doesn't record what would explain slow calls",
    why="""
        Without its latency monitor, and with a slow log that begins far above what callers wait, a stall leaves no
        trace on the server: it can't be told from one of the network or of the application.
    """,
    seen="""
        `latency-monitor-threshold` is 0, or `slowlog-log-slower-than` is off or above the pools' p99 of a
        connection's use.
    """,
    write="""
        ```text
        latency-monitor-threshold 100
        slowlog-log-slower-than 10000
        ```
    """,
    source="Redis documentation, *LATENCY DOCTOR* and *SLOWLOG*.",
    needs=("config",),
)
def not_recorded(facts: Facts) -> Iterator[Finding]:
    """Look at what the server is asked to record."""
    server = _of(facts)
    if server.setting("latency-monitor-threshold") == 0:
        yield Finding(
            "Its latency monitor is off: a fork or a slow disk that stops it leaves no trace.",
            {"latency-monitor-threshold": 0},
            "CONFIG SET latency-monitor-threshold 100",
        )
    threshold = server.setting("slowlog-log-slower-than")
    p99 = max((each.use.quantile(0.99) for each in counted(facts) if each.use.count >= 100), default=None)
    if threshold is not None and (threshold < 0 or (p99 is not None and threshold / 1e6 > p99)):
        said = "is off" if threshold < 0 else f"begins at {seconds(threshold / 1e6)}"
        above = "" if p99 is None else f", and callers use a connection for {seconds(p99)} (p99)"
        yield Finding(
            f"Its slow log {said}{above}.",
            {"slowlog-log-slower-than": threshold} | ({} if p99 is None else {"p99": Seconds(p99)}),
            f"CONFIG SET slowlog-log-slower-than {10000 if p99 is None else max(100, int(p99 * 5e5))}",
        )


@rule(
    "S10",
    Severity.COSTLY,
    "Slow commands make all others wait",
    why="""
        The server carries out one command at a time. Where slow ones take more than 1 % of its time, more than one
        call in a hundred comes upon one: that is the p99 of every pool.
    """,
    seen="The entries of the slow log of the last minute add up to more than 1 % of that minute.",
    write="""
        Take less at a time: SCAN for KEYS, SSCAN and HSCAN for whole sets and hashes, pages for ranges, UNLINK for
        DEL. What has to be slow belongs on a replica.
    """,
    source="Redis documentation, *latency*, first item of its checklist.",
    needs=("slowlog",),
)
def slow_commands(facts: Facts) -> Iterator[Finding]:
    """Add up what slow commands took of the last minute."""
    server = _of(facts)
    recent = [entry for entry in server.slow or () if 0 <= server.at - entry.at <= _RECENT]
    taken = sum(entry.seconds for entry in recent)
    if taken > 0.01 * _RECENT:
        worst = max(recent, key=lambda entry: entry.seconds)
        by = f" by {worst.client}" if worst.client else ""
        yield Finding(
            f"Within a minute {count(len(recent), 'slow command')} took {seconds(round(taken, 3))}: "
            f"{most_common(entry.command for entry in recent)}. The slowest, {worst.command}{by}, took "
            f"{seconds(worst.seconds)}.",
            {"entries": len(recent), "seconds": round(taken, 3), "slowest": Seconds(worst.seconds)},
        )


@rule(
    "S11",
    Severity.COSTLY,
    "The server stops for longer than callers wait",
    why="""
        While the server forks, writes to a slow disk or expires many keys at once it answers no command. A stop that
        is longer than `socket_timeout` is a timeout for every call under way.
    """,
    seen="The longest event of LATENCY LATEST is longer than a pool's `socket_timeout` (without `--pool`: 5 s).",
    write="""
        Give callers more time than the server's stops, or take the cause away: for `fork`, transparent huge pages off
        and a replica that saves; for `aof-fsync-always` and the like, `appendfsync everysec` and a faster disk; for
        `expire-cycle`, lifetimes with jitter.
    """,
    source="Redis documentation, *latency*.",
    needs=("latency",),
)
def long_stops(facts: Facts) -> Iterator[Finding]:
    """Compare the server's stops with the pools' patience."""
    stated = [pool.socket_timeout for pool in facts.pools if pool.socket_timeout]
    patience = min(stated) if stated else _DEFAULT_SOCKET_TIMEOUT
    for event in _of(facts).latency or ():
        if event.event != "command" and event.longest > patience:
            yield Finding(
                f"{event.event} has stopped the server for {seconds(event.longest)}; callers wait {seconds(patience)}.",
                {"longest": event.longest, "socket_timeout": patience},
            )


@rule(
    "S12",
    Severity.COSTLY,
    "Connections are opened all the time",
    why="""
        A connection costs several round trips, a TLS handshake perhaps, and work on the server; AWS has measured 2.82
        ms with a new connection and 0.21 ms with a kept one. A rate that doesn't end is a client made for each
        request, or connections that break as soon as they are used.
    """,
    seen="""
        `total_connections_received` of INFO grew by more than one a second and process during the look, and, where
        the fleet reports, by more than twice what its pools have opened.
    """,
    write="""
        One pool for each process, made once:

        ```python
        import redis, redpool

        pool = redpool.ConnectionPool(host="localhost", max_connections=10)


        def handle(request):
            return redis.Redis(connection_pool=pool).get("greeting")
        ```
    """,
    source="AWS on Redis clients and ElastiCache; redis-py #3304; Azure's page on connection resilience.",
    needs=("info",),
)
def churn(facts: Facts) -> Iterator[Finding]:
    """Compare the rate of new connections with the processes and with what the pools opened."""
    server = _of(facts)
    rate = server.rate("total_connections_received") or 0.0
    opened = server.grew("total_connections_received") or 0.0
    processes = max(len(facts.fleet.processes) if facts.fleet else 0, facts.processes or 0)
    pools = _pools_open_per_second(facts)
    if opened < 2 or rate <= max(1, processes) or (pools is not None and rate < 2 * pools):
        return
    seen = most_common(client.owner for client in server.newcomers)
    whose = f" Those that are still there: {seen}." if seen else " None of them stayed."
    known = "" if pools is None else f", of which the fleet's pools {pools:.2g}"
    yield Finding(
        f"{rate:.3g} connections a second are opened{known}.{whose}",
        {"per second": round(rate, 2), "seconds": round(server.seconds, 2), "processes": processes}
        | ({} if pools is None else {"pools per second": round(pools, 2)}),
    )


@rule(
    "S13",
    Severity.NOTE,
    "The server's machine isn't set up for it",
    why="""
        A short queue of the kernel's drops connections in a rush; transparent huge pages make each fork, and what
        follows it, slow; without overcommit a fork for a save may fail.
    """,
    seen="""
        Only on one's own machine: `tcp-backlog` is above `somaxconn`, transparent huge pages are `always`, or
        `overcommit_memory` isn't 1.
    """,
    write="""
        ```text
        sysctl -w net.core.somaxconn=1024
        sysctl -w vm.overcommit_memory=1
        echo madvise > /sys/kernel/mm/transparent_hugepage/enabled
        ```
    """,
    source="The server's own warnings at start-up.",
    needs=("machine",),
)
def machine_settings(facts: Facts) -> Iterator[Finding]:
    """Compare the machine's settings with what the server asks for."""
    server = _of(facts)
    backlog, queue = server.setting("tcp-backlog") or 0, server.machine.get("somaxconn", "")
    if queue.isdigit() and backlog > int(queue):
        yield Finding(
            f"The kernel queues {queue} connections, the server asks for {backlog}.",
            {"tcp-backlog": backlog, "somaxconn": int(queue)},
            f"sysctl -w net.core.somaxconn={backlog}",
        )
    if "[always]" in server.machine.get("transparent_hugepage", ""):
        yield Finding(
            "Transparent huge pages are always on: forks take longer, and memory is copied in large pieces.",
            {"transparent_hugepage": "always"},
            "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled",
        )
    saves = server.info.get("aof_enabled") == 1 or server.number("rdb_saves") or server.number("connected_slaves")
    if saves and server.machine.get("overcommit_memory", "1") != "1":
        yield Finding(
            "The kernel doesn't overcommit memory: a save in the background may fail.",
            {"overcommit_memory": server.machine["overcommit_memory"]},
            "sysctl -w vm.overcommit_memory=1",
        )


@rule(
    "S14",
    Severity.COSTLY,
    "The server uses all of its core",
    why="""
        One thread carries out all commands. Where it has no time left, more connections and larger pools only make
        the queue in front of it longer.
    """,
    seen="Its main thread used at least 90 % of a core while the doctor looked.",
    write="""
        Send less: pipelines, MGET, a cache in the process; read from replicas; or shard: `redpool.RedisCluster`.
    """,
    source="Lettuce, *Is connection pooling necessary?*; the universal scalability law.",
    needs=("info",),
)
def core_is_full(facts: Facts) -> Iterator[Finding]:
    """Look at how much of a core its main thread used."""
    server = _of(facts)
    used = server.core_used
    if used >= 0.9:
        operations = server.number("instantaneous_ops_per_sec") or 0
        yield Finding(
            f"Its main thread uses {share(used)} of a core, at {operations:g} commands a second.",
            {"core": round(used, 2), "commands per second": operations},
        )


_MEANINGS = {
    "NOAUTH": "a client sent commands before it had authenticated: a connection without its credentials",
    "WRONGPASS": "wrong credentials: every connect of that client fails, and pools try again",
    "READONLY": "writes reached a replica: the pool still connects to a primary that was replaced",
    "LOADING": "clients came while the server loaded its data: they should wait before they connect again",
    "CLUSTERDOWN": "a part of the cluster had no primary: retry later, and see cluster-require-full-coverage",
    "MASTERDOWN": "a replica had lost its primary",
    "NOPERM": "a user may not run a command that a client sent (ACL)",
}


@rule(
    "S15",
    Severity.NOTE,
    "Errors that concern connections",
    why="""
        Some errors say less of a command than of the connection: not authenticated, at the wrong server, at one that
        isn't ready. A pool should then close the connection, or wait, instead of sending the command again.
    """,
    seen="INFO's `errorstat_` of NOAUTH, WRONGPASS, READONLY, LOADING, CLUSTERDOWN, MASTERDOWN or NOPERM is above 0.",
    write="""
        redpool closes the connections of a generation that gets READONLY, and connects anew. For credentials see the
        `username` and `password` of the pool, for ACL the user's rules on the server.
    """,
    source="Redis documentation, *INFO*, errorstats.",
    needs=("info",),
)
def telling_errors(facts: Facts) -> Iterator[Finding]:
    """Explain each kind of error that tells of connections."""
    for kind, number in _of(facts).errors().items():
        if kind in _MEANINGS:
            yield Finding(f"{kind} was given {count(number, 'time')}: {_MEANINGS[kind]}.", {kind: number})


def _of(facts: Facts) -> ServerFacts:
    assert facts.server is not None  # its rule needs it
    return facts.server


def _or_none(value: float | None) -> float | str:
    return "None" if value is None else value


def _pools_open_per_second(facts: Facts) -> float | None:
    """Return how many connections the fleet's pools open in a second; `None` where its history is too short."""
    history = facts.fleet.history if facts.fleet else ()
    series: dict[tuple[str, str], list[tuple[float, int]]] = {}
    for sample in history:
        series.setdefault((sample.process, sample.pool), []).append((sample.at, sample.connected))
    rates = [max(0, points[-1][1] - points[0][1]) / (points[-1][0] - points[0][0])
             for points in series.values() if points[-1][0] > points[0][0]]  # fmt: skip
    return sum(rates) if rates else None
