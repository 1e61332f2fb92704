"""For each rule facts that break it, and facts that don't."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any, NamedTuple

from redpool.core.config import PoolConfig
from redpool.core.histogram import BOUNDS, Distribution
from redpool.core.record import Record
from redpool.doctor.facts import (
    Client,
    Facts,
    Latency,
    Pattern,
    PoolFacts,
    ServerFacts,
    Sighting,
    SlowCommand,
)
from redpool.fleet.model import FleetView, Owner, PoolReport, ProcessReport, Sample, ServerClient, ServerView
from redpool.tuning import workloads
from redpool.tuning.servers import OneByOne, Parallel, Server
from redpool.tuning.simulator import Simulator


class Case(NamedTuple):
    """Facts that break a rule, and similar ones that don't."""

    broken: Facts
    sound: Facts


INFO: dict[str, object] = {
    "redis_version": "7.4.1", "maxclients": 100, "connected_clients": 10, "connected_slaves": 0,
    "cluster_connections": 0, "rejected_connections": 0, "total_connections_received": 10, "maxmemory": 0,
    "maxmemory_policy": "noeviction", "total_commands_processed": 1000, "used_cpu_user_main_thread": 1.0,
    "used_cpu_sys_main_thread": 1.0, "instantaneous_ops_per_sec": 100,
}  # fmt: skip
CONFIG = {
    "maxclients": "100", "timeout": "0", "tcp-keepalive": "300", "maxmemory": "0", "maxmemory-policy": "noeviction",
    "maxmemory-clients": "0", "latency-monitor-threshold": "100", "slowlog-log-slower-than": "10000",
    "client-output-buffer-limit": "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60",
    "tcp-backlog": "511", "io-threads": "1",
}  # fmt: skip
MACHINE = {"somaxconn": "4096", "overcommit_memory": "1", "transparent_hugepage": "always [madvise] never"}
SERVER = ServerFacts(
    "redis://10.0.0.1:6379", "10.0.0.1", local=False, encrypted=True, seconds=1.0, before=INFO, info=INFO,
    config=CONFIG, clients=(), slow=(), latency=(), at=1000.0, hello=True, machine=MACHINE,
)  # fmt: skip
POOL = PoolFacts(
    "redis:6379/0", "app:pool", "redpool", "threads", "ConnectionPool", timeout=5.0, max_idle_time=300.0,
    max_lifetime=3600.0, lifetime_jitter=0.1, ping_after_idle=30.0, socket_timeout=5.0, connect_timeout=5.0,
    parser="_HiredisParser",
)  # fmt: skip
THEIRS = replace(POOL, family="redis-py", max_idle_time=None, max_lifetime=None, ping_after_idle=None)
SHARED = replace(POOL, multiplexed=True, shared_connections=1)
FAST = Distribution((1000,) * (len(BOUNDS) + 1), 0.1)
SLOW = Distribution((0,) * len(BOUNDS) + (1000,), 40_000.0)


def server(info: dict[str, object] | None = None, config: dict[str, str] | None = None, **fields: Any) -> Facts:
    """Return the facts of a sound server, but for these."""
    return Facts(replace(SERVER, info={**INFO, **(info or {})}, config={**CONFIG, **(config or {})}, **fields))


def clients(*listed: Client, **fields: Any) -> Facts:
    """Return the facts of a server with these clients."""
    return server(clients=listed, **fields)


def client(number: int = 1, **fields: Any) -> Client:
    """Return a client that has nothing the matter."""
    return Client(
        number, f"10.0.1.{number}:5000", **{"name": "shop/cache@web:7", "library": "redis-py", "user": "shop"} | fields
    )


def pool(like: PoolFacts = POOL, **fields: Any) -> Facts:
    """Return the facts of one imported pool, on a sound server."""
    return Facts(SERVER, pools=(replace(like, **fields),))


def on_busy_server(**fields: Any) -> Facts:
    """Return the facts of one imported pool, on a server whose main thread uses three quarters of a core."""
    return replace(pool(**fields), server=server({"used_cpu_user_main_thread": 1.75}).server)


def code(pattern: Pattern, **fields: Any) -> Facts:
    """Return the facts of code in which one thing was seen."""
    seen = Sighting(
        pattern, "app/views.py", 7, "view", fields.pop("what", "redis.Redis"), **{"on_request": True} | fields
    )
    return Facts(code=(seen,), redis_py="8.1.0")


def started_at_once(connections: int, **fields: Any) -> Facts:
    """Return the facts of a server to which four processes have connected in the same second."""
    return clients(*(client(n, name=f"shop/cache@web:{n % 4}", age=9.0) for n in range(connections)), **fields)


def process(number: int, *pools: PoolReport, **fields: Any) -> ProcessReport:
    """Return the report of a process."""
    given = {"redpool": "1.0", "redis_py": "8.1.0"} | fields
    return ProcessReport("shop", "web", number, 0.0, 100.0, 1.0, python="3.13", pools=pools, **given)


def report(max_connections: int = 5, name: str = "cache", **fields: Any) -> PoolReport:
    """Return the report of a pool."""
    address = fields.pop("address", "redis:6379")
    return PoolReport(
        name, "dedicated", "threads", address, max_connections, 1, 1, 0, 0, 0, 0.0, **{"wait": FAST} | fields
    )


def fleet(*processes: ProcessReport, listed: tuple[ServerClient, ...] = (), **fields: Any) -> Facts:
    """Return the facts of a fleet on a sound server."""
    seen = ServerView("redis://10.0.0.1:6379", max_clients=100, clients=listed)
    return Facts(SERVER, fleet=FleetView(100.0, processes, seen, **fields))


def listed(owner: Owner, service: str = "shop") -> ServerClient:
    """Return a client of a process that reports, or not."""
    of = f"{service}@web:9"
    return ServerClient(
        5,
        "10.0.1.9:5000",
        f"{service}/cache@web:9",
        10.0,
        1.0,
        0,
        "get",
        "shop",
        "redis-py",
        "N",
        0,
        0,
        owner,
        process=of,
    )


def sampled(connected: int) -> tuple[Sample, ...]:
    """Return the history of a pool that has opened so many connections a second."""
    return tuple(
        Sample(at, "shop@web:1", "cache", 1, 0, 0, 0, 0.0, 0, 0, int(at) * connected, 0) for at in (98.0, 99.0)
    )


def recorded(rate: float, seconds: float = 0.5) -> Record:
    """Return the record of a pool that is large enough, whose callers keep their connections for 2 ms on average."""
    simulator = Simulator(PoolConfig(max_connections=50))
    simulator.run(workloads.poisson(rate, workloads.exponential(0.002))(Random(1), seconds), seconds)
    return simulator.core.record(seconds)


def crowded(server: Server) -> Record:
    """Return the record of half a minute, in which five times as many callers come for a third of a second in two."""
    simulator = Simulator(PoolConfig(max_connections=50), server, warm=True)
    callers = workloads.bursts(100, workloads.exponential(0.001), times=5, length=0.3, every=2)
    simulator.run(callers(Random(1), 30.0), 30.0)
    return simulator.core.record(30.0)


BUSY = recorded(2000)
SLOWER_TOGETHER, AS_FAST = crowded(OneByOne(0.001)), crowded(Parallel())
QUIET = recorded(25, 60.0)
LOADED: dict[str, Any] = {
    "counters": {"acquired": 200_000},
    "use": Distribution((0,) * 4 + (200_000,) * (len(BOUNDS) - 3), 400.0),
}
"""of a process that began 100 s ago: 2 000 callers a second with 2 ms each"""
NOTHING_IN_CODE = Facts(SERVER, code=())
MEGABYTE = 1024 * 1024

# Rules that may be broken in other ways, too, have these in `MORE`.
CASES: dict[str, Case] = {
    "S1": Case(server({"connected_clients": 70, "connected_slaves": 11}), server({"connected_clients": 80})),
    "S2": Case(
        server({"maxclients": 992}, {"maxclients": "992"}), server({"maxclients": 10000}, {"maxclients": "10000"})
    ),
    "S3": Case(server({"rejected_connections": 3}), server({"rejected_connections": 0})),
    "S4": Case(server(config={"timeout": "300"}), server(config={"timeout": "301"})),
    "S5": Case(server(config={"tcp-keepalive": "0"}), server(config={"tcp-keepalive": "0"}, local=True)),
    "S6": Case(
        server({"maxmemory": MEGABYTE, "errorstat_OOM": {"count": 3}}),
        server({"maxmemory": 0, "errorstat_OOM": {"count": 3}}),
    ),
    "S7": Case(
        clients(client(memory=MEGABYTE), config={"maxmemory": str(10 * MEGABYTE)}),
        clients(client(memory=MEGABYTE), config={"maxmemory": str(10 * MEGABYTE), "maxmemory-clients": "5%"}),
    ),
    "S8": Case(
        clients(client(subscriptions=1, output=5 * MEGABYTE)), clients(client(subscriptions=1, output=3 * MEGABYTE))
    ),
    "S9": Case(server(config={"latency-monitor-threshold": "0"}), server()),
    "S10": Case(
        server(slow=(SlowCommand(990.0, 1.0, "KEYS", "shop"),)), server(slow=(SlowCommand(900.0, 1.0, "KEYS", "shop"),))
    ),
    "S11": Case(
        server(latency=(Latency("fork", 6.0),)), server(latency=(Latency("fork", 4.0), Latency("command", 9.0)))
    ),
    "S12": Case(server({"total_connections_received": 20}), server({"total_connections_received": 11})),
    "S13": Case(server(machine=MACHINE | {"somaxconn": "128"}), server()),
    "S14": Case(server({"used_cpu_user_main_thread": 1.8, "used_cpu_sys_main_thread": 1.15}), server()),
    "S15": Case(server({"errorstat_READONLY": {"count": 2}}), server({"errorstat_ERR": {"count": 2}})),
    "C1": Case(clients(client(name="", library="")), clients(client(name=""))),
    "C2": Case(
        clients(*(client(n, idle=400.0) for n in range(12))), clients(*(client(n, idle=40.0 * n) for n in range(12)))
    ),
    "C3": Case(
        fleet(process(1, report()), listed=(listed(Owner.ORPHANED),)),
        fleet(process(1, report()), listed=(listed(Owner.KNOWN),)),
    ),
    "C4": Case(
        clients(client(1, flags="b", command="BLPOP"), client(2, flags="b", command="BLPOP"), client(3)),
        clients(client(1, flags="b"), client(2, flags="b")),
    ),
    "C5": Case(
        clients(*(client(n, subscriptions=2, channels=(2, 0, 0)) for n in (1, 2))),
        clients(client(1, subscriptions=2, channels=(2, 0, 0)), client(2, subscriptions=1, channels=(1, 0, 0))),
    ),
    "C6": Case(clients(client(transaction=2, idle=90.0)), clients(client(transaction=2, idle=1.0), client(idle=90.0))),
    "C7": Case(
        server({"cmdstat_select": {"calls": 100}, "total_commands_processed": 1200}),
        server({"cmdstat_select": {"calls": 10}, "total_commands_processed": 1200, "total_connections_received": 20}),
    ),
    "C8": Case(pool(lifetime_jitter=0.0), pool(max_lifetime=None, lifetime_jitter=0.0)),
    "C9": Case(clients(client(bytes_out=20 * MEGABYTE, commands=20)), clients(client(bytes_out=MEGABYTE, commands=20))),
    "C10": Case(clients(client(user="default"), encrypted=False), clients(client(user="default"))),
    "P1": Case(pool(max_connections=3, record=BUSY, wait=SLOW), pool(max_connections=20, record=BUSY, wait=SLOW)),
    "P2": Case(replace(pool(record=QUIET), processes=40), pool(max_connections=3, record=QUIET)),
    "P3": Case(on_busy_server(record=SLOWER_TOGETHER), on_busy_server(record=AS_FAST)),
    "P4": Case(pool(timeout=None), pool(timeout=5.0)),
    "P5": Case(
        code(Pattern.BLOCKING_PAST_TIMEOUT, what="BLPOP", own_timeout=8.0),
        code(Pattern.BLOCKING_PAST_TIMEOUT, what="BLPOP", own_timeout=8.0, socket_timeout=10.0),
    ),
    "P6": Case(pool(retries=10), pool(retries=1, socket_timeout=2.0)),
    "P7": Case(pool(counters={"retries_refused": 1}), pool(counters={"retries_refused": 0})),
    "P8": Case(
        pool(counters={"released": 1000}, closed={"error": 5, "invalid": 20}),
        pool(counters={"released": 1000}, closed={"error": 5, "idle": 20}, use=SLOW, connect=FAST),
    ),
    "P9": Case(pool(THEIRS, credentials_change=True), pool(credentials_change=True)),
    "P10": Case(pool(closed={"leaked": 1}), pool(counters={"leaks": 0}, closed={"idle": 4})),
    "P13": Case(code(Pattern.POOL_PER_CALL), NOTHING_IN_CODE),
    "P14": Case(pool(THEIRS, shell="asyncio", open=1), pool(THEIRS, open=1)),
    "P15": Case(code(Pattern.LOOP_PER_CALL, what="asyncio.run"), NOTHING_IN_CODE),
    "P18": Case(
        pool(counters={"acquired": 900, "timeouts": 20}, bounded=False, record=BUSY),
        pool(counters={"acquired": 900, "timeouts": 20}, bounded=True, record=BUSY),
    ),
    "F1": Case(
        fleet(process(1, report(60)), process(2, report(41))), fleet(process(1, report(25)), process(2, report(25)))
    ),
    "F2": Case(
        fleet(*(process(n, report(1, wait=SLOW if n == 3 else FAST)) for n in range(6))),
        fleet(*(process(n, report(1)) for n in range(6))),
    ),
    "F3": Case(started_at_once(100), started_at_once(99)),
    "F4": Case(fleet(process(1), process(2, redis_py="7.4.0")), fleet(process(1), process(2))),
    "V1": Case(replace(server(hello=False), redis_py="8.1.0"), replace(server(hello=False), redis_py="7.4.0")),
    "V2": Case(Facts(redis_py="8.0.0"), Facts(redis_py="8.1.0")),
    "V3": Case(pool(SHARED, parser="_RESP3Parser"), pool(SHARED)),
    "V4": Case(
        replace(server(config={"io-threads": "4"}), pools=(SHARED,)),
        replace(server(config={"io-threads": "4"}), pools=(replace(SHARED, shared_connections=4),)),
    ),
    "V5": Case(server(host="shop.abc.cache.amazonaws.com"), server(host="cache.amazonaws.com.example.org")),
    "V6": Case(
        replace(server({"valkey_version": "9.1.2"}), pools=(replace(POOL, caches=True),)), pool(POOL, caches=True)
    ),
    "A2": Case(code(Pattern.COMMAND_PER_ITEM, what="GET"), NOTHING_IN_CODE),
    "A3": Case(code(Pattern.WHOLE_KEYSPACE, what="KEYS"), code(Pattern.WHOLE_VALUE, what="HGETALL")),
}
MORE: list[tuple[str, Case]] = [
    ("S2", Case(server({"maxclients": 500}, {"maxclients": "1000"}), server())),
    ("S4", Case(replace(server(config={"timeout": "600"}), pools=(THEIRS,)), pool())),
    ("S4", Case(replace(server(config={"timeout": "20"}), pools=(replace(POOL, max_idle_time=10.0),)), pool())),
    (
        "S5",
        Case(server(config={"tcp-keepalive": "900"}), replace(server(config={"tcp-keepalive": "900"}), pools=(POOL,))),
    ),
    (
        "S6",
        Case(
            server({"maxmemory": MEGABYTE, "maxmemory_policy": "allkeys-lru"}, queues=("rq:queues",)),
            server({"maxmemory": MEGABYTE, "maxmemory_policy": "allkeys-lru"}),
        ),
    ),
    (
        "S9",
        Case(replace(server(), pools=(replace(POOL, use=FAST),)), replace(server(), pools=(replace(POOL, use=SLOW),))),
    ),
    ("S9", Case(server(config={"slowlog-log-slower-than": "-1"}), server())),
    ("S11", Case(replace(server(latency=(Latency("fork", 1.0),)), pools=(replace(POOL, socket_timeout=0.5),)), pool())),
    (
        "S12",
        Case(
            Facts(
                replace(SERVER, info=INFO | {"total_connections_received": 20}), fleet=FleetView(100.0, (process(1),))
            ),
            Facts(
                replace(SERVER, info=INFO | {"total_connections_received": 20}),
                fleet=FleetView(100.0, (process(1),), history=sampled(9)),
            ),
        ),
    ),
    ("S13", Case(server(machine=MACHINE | {"transparent_hugepage": "[always] madvise never"}), server())),
    ("S13", Case(server({"aof_enabled": 1}, machine=MACHINE | {"overcommit_memory": "0"}), server({"aof_enabled": 1}))),
    (
        "S14",
        Case(
            Facts(
                replace(
                    SERVER,
                    before={"used_cpu_user": 1.0, "used_cpu_sys": 0.0},
                    info={"used_cpu_user": 2.0, "used_cpu_sys": 0.0},
                )
            ),
            Facts(replace(SERVER, before={"used_cpu_user": 1.0}, info={"used_cpu_user": 2.0}, seconds=2.0)),
        ),
    ),
    ("C1", Case(clients(client(1), client(2, library="jedis")), clients(client(1), client(2)))),
    (
        "C4",
        Case(pool(max_connections=2, commands=("BLPOP", "BLPOP")), pool(max_connections=4, commands=("BLPOP", "GET"))),
    ),
    ("C4", Case(code(Pattern.BLOCKING_ON_SMALL_POOL, what="BLPOP", size=2), NOTHING_IN_CODE)),
    (
        "C3",
        Case(
            fleet(process(1), listed=(listed(Owner.ORPHANED),)),
            fleet(process(1), listed=(listed(Owner.ORPHANED, "silent"),)),
        ),
    ),
    ("C6", Case(clients(client(watched=2, idle=90.0)), clients(client(watched=2)))),
    ("C9", Case(clients(client(output=2 * MEGABYTE)), clients(client(output=2 * MEGABYTE, subscriptions=1)))),
    ("P1", Case(pool(max_connections=3, record=BUSY, wait=SLOW), pool(max_connections=3, record=BUSY, wait=FAST))),
    ("P1", Case(fleet(process(1, report(4, wait=SLOW, **LOADED))), fleet(process(1, report(20, wait=SLOW, **LOADED))))),
    (
        "P1",
        Case(
            replace(fleet(process(1, report(3, wait=SLOW))), records={("shop@web:1", "cache"): BUSY}),
            fleet(process(1, report(3, wait=SLOW, sizes_itself=True, **LOADED))),
        ),
    ),
    ("P2", Case(pool(record=QUIET), pool(record=QUIET, sizes_itself=True))),
    ("P2", Case(pool(record=QUIET), pool(record=BUSY))),
    ("P3", Case(on_busy_server(record=SLOWER_TOGETHER), pool(record=SLOWER_TOGETHER))),
    ("P3", Case(on_busy_server(record=SLOWER_TOGETHER), on_busy_server(record=BUSY))),
    ("P7", Case(fleet(process(1, report(counters={"retries_refused": 9}))), fleet(process(1, report())))),
    (
        "P18",
        Case(
            replace(pool(counters={"acquired": 900}, bounded=False, wait=SLOW), deadline=1.0),
            replace(pool(counters={"acquired": 900}, bounded=False, wait=FAST), deadline=1.0),
        ),
    ),
    (
        "P18",
        Case(
            fleet(process(1, report(counters={"acquired": 900, "timeouts": 10}, bounded=False))),
            fleet(process(1, report(counters={"acquired": 900, "timeouts": 10}))),
        ),
    ),
    (
        "F1",
        Case(
            replace(pool(max_connections=4, record=BUSY), processes=10),
            replace(pool(max_connections=4, record=BUSY), processes=7),
        ),
    ),
    (
        "F1",
        Case(
            Facts(SERVER, fleet=FleetView(100.0, (process(1, report(30)),)), processes=4),
            Facts(SERVER, fleet=FleetView(100.0, (process(1, report(30)),))),
        ),
    ),
    (
        "F1",
        Case(
            fleet(process(1, report(60, **LOADED)), process(2, report(60, **LOADED))),
            fleet(process(1, report(24, **LOADED)), process(2, report(24, **LOADED))),
        ),
    ),
    ("P4", Case(replace(pool(timeout=20.0), deadline=20.0), pool(timeout=20.0))),
    (
        "P5",
        Case(
            code(Pattern.BLOCKING_PAST_TIMEOUT, own_timeout=0.0), code(Pattern.BLOCKING_PAST_TIMEOUT, own_timeout=1.0)
        ),
    ),
    ("P6", Case(pool(socket_timeout=None), pool())),
    (
        "P8",
        Case(
            pool(counters={"released": 1000}, closed={"idle": 50}, use=SLOW, connect=SLOW),
            pool(counters={"released": 10}, closed={"idle": 50}, use=SLOW, connect=SLOW),
        ),
    ),
    (
        "P8",
        Case(
            pool(counters={"released": 1000}, closed={"idle": 50}, use=SLOW, connect=SLOW),
            pool(counters={"released": 1000}, use=SLOW, connect=SLOW),
        ),
    ),
    (
        "P8",
        Case(
            fleet(process(1, report(counters={"released": 500}, closed={"invalid": 30}))),
            fleet(process(1, report(counters={"released": 500}, closed={"lifetime": 30}))),
        ),
    ),
    ("P9", Case(pool(THEIRS, host="shop.abc.cache.amazonaws.com"), pool(THEIRS, host="10.0.0.1"))),
    ("P10", Case(fleet(process(1, report(counters={"leaks": 2}))), fleet(process(1, report())))),
    ("P13", Case(pool(siblings=5), pool(siblings=2))),
    (
        "P13",
        Case(
            fleet(process(1, *(report(1, "cache" if n == 1 else f"cache#{n}") for n in range(1, 7)))),
            fleet(process(1, *(report(1, f"pool {n}") for n in range(6)))),
        ),
    ),
    ("P14", Case(code(Pattern.ASYNC_BEFORE_FORK), NOTHING_IN_CODE)),
    ("F1", Case(replace(pool(max_connections=30), processes=4), replace(pool(max_connections=30), processes=1))),
    ("F1", Case(fleet(process(1, report(60))), fleet(process(1, report(50))))),
    ("F3", Case(started_at_once(511, encrypted=False), started_at_once(510, encrypted=False))),
    ("F3", Case(started_at_once(100), clients(*(client(n, age=9.0 + n) for n in range(100))))),
    (
        "F1",
        Case(
            fleet(process(1, report(101, address="redis:6379"))),
            fleet(process(1, report(101, address="redis:6380"), report(40, address="10.0.0.1:6379"))),
        ),
    ),
    (
        "V1",
        Case(
            replace(pool(THEIRS, protocol=3), server=replace(SERVER, hello=False), redis_py="8.1.0"),
            replace(pool(protocol=3), server=replace(SERVER, hello=False), redis_py="8.1.0"),
        ),
    ),
    ("V2", Case(fleet(process(1, redis_py="5.0.1")), fleet(process(1)))),
    ("V4", Case(replace(server({"executable": "/usr/bin/keydb-server"}), pools=(SHARED,)), pool(SHARED))),
    ("A3", Case(server({"cmdstat_keys": {"calls": 5}}), server())),
    ("A3", Case(server(slow=(SlowCommand(1.0, 0.2, "HGETALL"),)), server(slow=(SlowCommand(1.0, 0.2, "GET"),)))),
]
