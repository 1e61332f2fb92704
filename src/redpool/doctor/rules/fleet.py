"""F: all processes together."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from statistics import median

from ...fleet.model import FleetView, Owner, ProcessReport
from ..facts import Facts, ServerFacts
from ..rule import Finding, Severity, rule
from .wording import count, most_common, seconds, share

_FAR = 3.0  # robust standard deviations
_NORMAL = 0.6745  # the median deviation of a normal distribution


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
        The `max_connections` of all pools of all live processes (or `--pool` times `--processes`), and those of
        others that are connected, are more than `maxclients`; or they would be with all processes twice.
    """,
    write="""
        Divide what the server takes by the processes, deploys included, and keep some for others:

        ```python
        import redpool

        maxclients, others, processes = 1000, 50, 40
        pool = redpool.ConnectionPool(host="localhost", max_connections=(maxclients - others) // (2 * processes))
        ```
    """,
    source="redis-py #2400 (40 hosts of 6 workers with 1000 connections each); benefits-api #1663 (a plan of 20).",
    needs=("fleet", "pool info"),
)
def over_budget(facts: Facts) -> Iterator[Finding]:
    """Compare the sum of all limits with the server's."""
    known = _fleet_budget(facts.fleet, facts.server) if facts.fleet else _pool_budget(facts)
    limit = (facts.server.max_clients if facts.server else None) or _fleet_limit(facts.fleet)
    if known is None or limit is None:
        return
    asked, others, processes = known
    room = limit - others
    if asked > room or 2 * asked > room:
        now = asked > room
        each = max(1, room // (2 * max(1, processes)))
        yield Finding(
            f"{count(processes, 'process')} may open {asked} connections{'' if now else ', twice that in a deploy'}; "
            f"the server takes {limit}, of which others have {others}.",
            {"max_connections": asked, "maxclients": limit, "others": others, "processes": processes},
            f"max_connections={each}  # for each process",
            severity=None if now else Severity.COSTLY,
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
                shown = seconds(value) if name == "p99 wait" else f"{value:g}"
                others = seconds(usual) if name == "p99 wait" else f"{usual:g}"
                yield Finding(
                    f"{process.key} has {name} {shown}; its {len(siblings) - 1} siblings have {others} in the median.",
                    {name: value, "median": usual, "processes": len(siblings)},
                )


@rule(
    "F3",
    Severity.COSTLY,
    "Connections were opened all at once",
    why="""
        When all processes connect in the same second, after a deploy or when a server comes back, the server is busy
        with handshakes instead of commands; those that time out try again, at once again.
    """,
    seen="At least 20 connections, of two hosts or processes, more than 20 % of all, are of one age in CLIENT LIST.",
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
    if number >= 20 and number > 0.2 * len(facts.clients) and len(owners) > 1:
        yield Finding(
            f"{number} of {len(facts.clients)} connections ({share(number / len(facts.clients))}) were opened in "
            f"the same second, {seconds(age)} ago.",
            {"at once": number, "connections": len(facts.clients), "age": age},
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


def _fleet_budget(fleet: FleetView, server: ServerFacts | None) -> tuple[int, int, int]:
    """Return what the fleet's pools may open, what others have open, and how many processes there are.

    Pools of other servers don't count. Where none has the address that the server was looked at by (it may have several
    names), the address of which most connections may be opened is taken for it.
    """
    asked: Counter[str] = Counter()
    for pool in (pool for process in fleet.processes for pool in process.pools):
        asked[pool.address] += pool.max_connections
    at = server.url.rpartition("//")[2].partition("/")[0] if server else ""
    address = at if at in asked else max(asked, key=lambda each: asked[each], default="")
    processes = sum(any(pool.address == address for pool in process.pools) for process in fleet.processes)
    clients = fleet.server.clients if fleet.server else ()
    return asked[address], sum(client.owner is not Owner.KNOWN for client in clients), processes


def _pool_budget(facts: Facts) -> tuple[int, int, int] | None:
    """Return the same for the imported pools, where it is known how many processes have them."""
    if facts.processes is None:
        return None
    return facts.processes * sum(pool.max_connections for pool in facts.pools), 0, facts.processes


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
