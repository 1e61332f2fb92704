"""F: all processes together."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median
from typing import NamedTuple

from ...fleet.model import FleetView, Owner, ProcessReport
from ...tuning import formulas
from ..facts import Facts, ServerFacts
from ..rule import Finding, Seconds, Severity, rule
from ..sizing import sized
from .wording import count, most_common, seconds, share

_FAR = 3.0  # robust standard deviations
_NORMAL = 0.6745  # the median deviation of a normal distribution
_BACKLOG = 511  # Redis' own `tcp-backlog`
_TLS_STORM = 100  # connects: each took a server 0.9 ms of CPU time with TLS (RSA 2048), 0.1 ms without


@rule(
    "F1",
    Severity.SEVERE,
    "All pools together may open more connections than the server takes",
    why="""
        Each process has a pool, and each pool may grow to its `max_connections`. On a quiet day they don't; when the
        server slows down all of them do, at once, and the server turns the rest away just then. A rolling deploy runs
        the old and the new processes side by side.
    """,
    seen="""
        The `max_connections` of all pools of all live processes (or of `--pool` or `--process`, times `--processes`),
        and those of others that are connected, are more than `maxclients`; or they would be with all processes twice.
        Where the load of all these pools is known (see P1), the sizes that it asks for are added up, too.
    """,
    write="""
        Let callers of a process share one connection (`redpool.Redis`), have all processes share one number of them
        (`redpool.Budget`), or divide what the server takes by the processes, deploys included, with a tenth left to
        others:

        ```python
        import redpool

        maxclients, others, processes = 1000, 100, 40
        pool = redpool.ConnectionPool(host="localhost", max_connections=(maxclients - others) // (2 * processes))
        ```
    """,
    source="redis-py #2400 (40 hosts of 6 workers with 1000 connections each); benefits-api #1663 (a plan of 20).",
    needs=("fleet", "pool info"),
)
def over_budget(facts: Facts) -> Iterator[Finding]:
    """Compare the sum of all limits with the server's."""
    budget = _fleet_budget(facts, facts.fleet) if facts.fleet else _pool_budget(facts)
    limit = (facts.server.max_clients if facts.server else None) or _fleet_limit(facts.fleet)
    if budget is None or limit is None:
        return
    asked, others, processes, needed, *_ = budget
    room = limit - others
    if 2 * max(asked, needed) > room:
        figures = {"max_connections": asked, "maxclients": limit, "others": others, "processes": processes}
        load = f" Their load asks for {needed}, {_fit(needed, room)}." if needed else ""
        yield Finding(
            f"{count(processes, 'process')} may open {asked} connections{_against(asked, room)}; "
            f"the server takes {limit}, of which others have {others}.{load}",
            figures | ({"advised": needed} if needed else {}),
            _sizes(budget, limit),
            severity=None if asked > room else Severity.COSTLY,
        )


@rule(
    "F2",
    Severity.COSTLY,
    "One process is unlike its siblings",
    why="""
        Processes of one service do the same. One whose callers wait far longer, or that opens far more connections,
        has a leak, a bad path to the server or a neighbor that takes its CPU; in the sums of all it doesn't show.
    """,
    seen="""
        Among five or more processes of a service, one is above the others in the p99 of waits, in connections opened
        or in timeouts by more than three robust standard deviations.
    """,
    write="""
        Look at that process: `redpool top`, its pools' `dump()`, and its machine.
    """,
    source="The median absolute deviation, as in Iglewicz and Hoaglin, *How to detect and handle outliers*.",
    needs=("fleet",),
)
def outlier(facts: Facts) -> Iterator[Finding]:
    """Compare the processes of each service."""
    services: dict[str, list[ProcessReport]] = defaultdict(list)
    for process in facts.fleet.processes if facts.fleet else ():
        services[process.service].append(process)
    for siblings in services.values():
        for name, measure, least in _MEASURES:
            for process, value, usual in _far_above(siblings, measure, least):
                of_time = name == "p99 wait"
                figure: Callable[[float], float] = Seconds if of_time else float
                shown, others = (seconds(each) if of_time else f"{each:g}" for each in (value, usual))
                yield Finding(
                    f"{process.key} has {name} {shown}; its {len(siblings) - 1} siblings have {others} in the median.",
                    {name: figure(value), "median": figure(usual), "processes": len(siblings)},
                )


@rule(
    "F3",
    Severity.COSTLY,
    "Connections were opened all at once",
    why="""
        When all processes connect in the same second, after a deploy or when a server comes back, the server is busy
        with handshakes instead of commands; those that time out try again, at once again.
    """,
    seen="""
        More than 20 % of all connections, of two hosts or processes, are of one age in CLIENT LIST, and they are so
        many that the server had to do with it: as many as it lets wait to be accepted (`tcp-backlog`, 511), or with TLS
        100, whose handshakes take about a tenth of a second. A few processes that start together are no storm.
    """,
    write="""
        Start processes one after the other. `max_connecting` (4) bounds how many connects a redpool pool has under
        way at once; `lifetime_jitter` keeps replacements apart.
    """,
    source="Azure, *Connection resilience*; go-redis #3890.",
    needs=("clients",),
)
def connect_storm(facts: Facts) -> Iterator[Finding]:
    """Count connections of the same age."""
    ages = Counter(client.age for client in facts.clients)
    age, number = max(ages.items(), key=lambda each: each[1], default=(0.0, 0))
    owners = {client.process or client.host for client in facts.clients if client.age == age}
    if number >= _storm(facts.server) and number > 0.2 * len(facts.clients) and len(owners) > 1:
        yield Finding(
            f"{number} of {len(facts.clients)} connections ({share(number / len(facts.clients))}) were opened in "
            f"the same second, {seconds(age)} ago.",
            {"at once": number, "connections": len(facts.clients), "age": Seconds(age)},
        )


@rule(
    "F4",
    Severity.NOTE,
    "A service runs several versions",
    why="""
        Processes of one service with different versions of redpool or redis-py behave differently in the same fault:
        what fails in one of them can't be seen in the others.
    """,
    seen="The reports of one service's processes name different versions.",
    write="""
        Pin both versions, and finish the deploy.
    """,
    source="The fleet's own reports.",
    needs=("fleet",),
)
def mixed_versions(facts: Facts) -> Iterator[Finding]:
    """Compare the versions of each service's processes."""
    versions: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for process in facts.fleet.processes if facts.fleet else ():
        versions[process.service, "redpool"][process.redpool] += 1
        versions[process.service, "redis-py"][process.redis_py] += 1
    for (service, library), found in versions.items():
        if len(found) > 1:
            yield Finding(
                f"{service} runs {len(found)} versions of {library}: {most_common(found.elements())}.",
                {"versions": len(found), "processes": sum(found.values())},
            )


def _storm(server: ServerFacts | None) -> int:
    """Return how many connects within a second keep a server from its commands."""
    backlog = (server.setting("tcp-backlog") if server else None) or _BACKLOG
    return min(backlog, _TLS_STORM) if server and server.encrypted else backlog


class _Budget(NamedTuple):
    asked: int
    """connections that all pools may open"""
    others: int
    """connections that others have open"""
    processes: int
    needed: int
    """connections by the sizes that the load asks for; 0 where that isn't known of all pools"""
    advised: Mapping[str, int]
    """these sizes by the pool's name, of several processes the largest"""
    share: bool
    """callers of all these pools share connections already"""


def _fleet_budget(facts: Facts, fleet: FleetView) -> _Budget:
    """Return what the fleet's pools may open, and what their load asks for.

    Pools of other servers don't count. Where none has the address that the server was looked at by (it may have several
    names), the address of which most connections may be opened is taken for it.
    """
    asked: Counter[str] = Counter()
    for pool in (pool for process in fleet.processes for pool in process.pools):
        asked[pool.address] += pool.max_connections
    at = facts.server.url.rpartition("//")[2].partition("/")[0] if facts.server else ""
    address = at if at in asked else max(asked, key=lambda each: asked[each], default="")
    pools = [pool for process in fleet.processes for pool in process.pools if pool.address == address]
    processes = sum(any(pool.address == address for pool in process.pools) for process in fleet.processes)
    clients = fleet.server.clients if fleet.server else ()
    others = sum(client.owner is not Owner.KNOWN for client in clients)
    needed, advised = _needed(facts, address, [pool.name for pool in pools])
    share = all(pool.kind == "multiplexed" for pool in pools)
    # Of a process that was asked itself the siblings don't show.
    times = (facts.processes or 1) if fleet.server is None else 1
    return _Budget(times * asked[address], others, times * processes, times * needed, advised, share)


def _pool_budget(facts: Facts) -> _Budget | None:
    """Return the same for the imported pools, where it is known how many processes have them."""
    if facts.processes is None:
        return None
    asked = facts.processes * sum(pool.max_connections for pool in facts.pools)
    needed, advised = _needed(facts, None, [pool.name for pool in facts.pools])
    share = all(pool.multiplexed for pool in facts.pools)
    return _Budget(asked, 0, facts.processes, facts.processes * needed, advised, share)


def _needed(facts: Facts, address: str | None, names: Sequence[str]) -> tuple[int, Mapping[str, int]]:
    """Return what the load of these pools asks for: in all, and for each name; nothing where it isn't known of all."""
    found = [pool for pool in sized(facts) if address in (None, pool.address)]
    if len(found) < len(names):
        return 0, {}
    advised: dict[str, int] = {}
    for pool in found:
        advised[pool.name] = max(pool.advice.size, advised.get(pool.name, 0))
    return sum(advised[name] for name in names), advised


def _against(connections: int, room: int) -> str:
    return (
        ", more than there is room for"
        if connections > room
        else (", twice that in a deploy" if 2 * connections > room else "")
    )


def _fit(connections: int, room: int) -> str:
    return (
        "which doesn't fit"
        if connections > room
        else ("which leaves no room for a deploy" if 2 * connections > room else "which fits")
    )


def _sizes(budget: _Budget, limit: int) -> str:
    """Return the sizes to write: those that the load asks for where they fit, deploys included, else even shares."""
    processes, room = max(1, budget.processes), limit - formulas.left_to_others(limit, budget.others)
    if budget.needed and 2 * budget.needed <= room:
        return "\n".join(f"max_connections={size}  # {name}" for name, size in budget.advised.items())
    twice, once = room // (2 * processes), room // processes
    if not once:
        return "# not one connection for each process: fewer processes, or a higher maxclients"
    said = [
        f"max_connections={twice}  # for each process; {once} with no room for a deploy"
        if twice
        else f"max_connections={once}  # for each process, with no room for a deploy"
    ]
    if not budget.share:
        said.append("# or one that all callers of a process share: redpool.Redis")
    if room > 2 * processes:  # each process has one more, to the budget's server
        said.append(f"# or one number for all: budget=redpool.Budget(URL, NAME, connections={room - 2 * processes})")
    return "\n".join(said)


def _fleet_limit(fleet: FleetView | None) -> int | None:
    return fleet.server.max_clients if fleet and fleet.server else None


Measure = Callable[[ProcessReport], float]


def _p99_wait(process: ProcessReport) -> float:
    return max((pool.wait.quantile(0.99) for pool in process.pools), default=0.0)


def _counter(name: str) -> Measure:
    return lambda process: float(sum(_get(pool.counters, name) for pool in process.pools))


def _get(counters: Mapping[str, int], name: str) -> int:
    return counters.get(name, 0)


# What is compared, and a difference that is always fine.
_MEASURES: tuple[tuple[str, Measure, float], ...] = (
    ("p99 wait", _p99_wait, 0.005),
    ("connections opened", _counter("connected"), 20.0),
    ("timeouts", _counter("timeouts"), 5.0),
)


def _far_above(
    siblings: list[ProcessReport], measure: Measure, least: float
) -> Iterator[tuple[ProcessReport, float, float]]:
    """Yield the processes that are far above the others, with their figure and the median's."""
    values = [measure(process) for process in siblings]
    if len(values) < 5:
        return
    usual = median(values)
    deviation = median(abs(value - usual) for value in values)
    for process, value in zip(siblings, values, strict=True):
        if value - usual > least and _NORMAL * (value - usual) > _FAR * deviation:
            yield process, value, usual
