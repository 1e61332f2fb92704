"""P: the pools' own options, and what they have counted."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator

from ...core.record import Record
from ..facts import Facts, Pattern, PoolFacts, Sighting, counted
from ..rule import Finding, Seconds, Severity, rule
from ..sizing import sized
from ..slowing import CERTAIN, Slowing, slowing
from .wording import count, seconds, share

_FEW = 100  # uses below which shares say nothing
_MANY, _LONG = 1000, 50.0  # callers, and seconds, of a record that says how busy a pool is
_BUSY = 0.5  # of a core: it is full while many come
_TWICE = 2.0
_TOO_MANY_POOLS = 5
_DEFAULT_SOCKET_TIMEOUT = 5.0  # redis-py's since 8.0
# Hosts of services whose address moves from one machine to another, and whose tokens end.
_MOVING = re.compile(r"\.(cache\.amazonaws\.com|redis\.cache\.windows\.net|aivencloud\.com|redis-cloud\.com)$")
_NUMBERED = re.compile(r"#\d+$")


@rule(
    "P1",
    Severity.SEVERE,
    "The pool is too small for its load",
    why="""
        Callers queue for a connection for longer than they use it. What looks like a slow Redis is the queue in front
        of the pool, and as soon as more callers come together it grows by far more than they are more.
    """,
    seen="""
        The p99 of waits is above the target (the median use, and at least 2 ms), and the size that `redpool tune` would
        advise is above `max_connections`. By the pool's record of the last minute; of a process that only reports,
        by its counters since it was started. How callers bunch is a guess then, and the finding says so. It isn't said
        where more connections would make calls slower: that is P3.
    """,
    write="""
        ```python
        import redpool

        pool = redpool.ConnectionPool(host="localhost", max_connections=20)
        ```

        Callers of a pool that is short come later than they would, so look again after the change.
    """,
    source="Erlang (1917), Allen and Cunneen (1978) for counters; docs/sizing.md.",
    needs=("record", "fleet"),
)
def too_small(facts: Facts) -> Iterator[Finding]:
    """Compare the size with the one that the load asks for."""
    for pool in sized(facts):
        advice = pool.advice
        if pool.sizes_itself or pool.wait_p99 <= advice.target or advice.size <= pool.max_connections:
            continue
        if _slows(facts, pool.record):
            continue
        expected = next(each.wait_p99 for each in advice.curve if each.size == advice.size)
        guess = " That is a guess by counters: they don't say how callers bunch." if advice.guessed else ""
        may_share = not (pool.shares or advice.guessed or advice.shared is False)
        yield Finding(
            f"Callers of {pool.label} wait for {seconds(pool.wait_p99)} at the p99, with "
            f"{count(pool.max_connections, 'connection')}; with {advice.size} it would be {seconds(expected)}.{guess}",
            {"max_connections": pool.max_connections, "advised": advice.size, "p99 wait": Seconds(pool.wait_p99),
             "expected": Seconds(expected), "target": Seconds(advice.target), "callers/s": round(advice.load.rate, 1)},
            f"max_connections={advice.size}" + (f", min_idle={advice.min_idle}" if advice.min_idle else "")
            + ("\n# or try one that all share: redpool.MultiplexedConnectionPool" if may_share else ""),
        )  # fmt: skip


@rule(
    "P2",
    Severity.COSTLY,
    "The pool is larger than its load asks for",
    why="""
        Connections that callers don't need on a good day are opened on a bad one: when the server slows down, each
        process opens all that it may, which is more work for the server just then, and takes places in its
        `maxclients`.
    """,
    seen="""
        The record spans 50 s or more, with 1 000 callers or more; had all of them been served at once, at most half of
        `max_connections` would have been in use at the busiest moment; and the size that `redpool tune` would advise is
        at most half of it, too. It is one minute: look in the busy hour. Reports of a fleet don't say the busiest
        moment.
    """,
    write="""
        The advised size, or twice that where you only looked at a quiet hour.
    """,
    source="HikariCP's wiki, *About Pool Sizing*.",
    needs=("record",),
)
def too_large(facts: Facts) -> Iterator[Finding]:
    """Compare the size with the busiest moment of the record."""
    for pool in sized(facts):
        load, size = pool.advice.load, pool.advice.size
        if pool.record is None or pool.sizes_itself or load.seconds < _LONG or load.callers < _MANY:
            continue
        if max(load.peak, size) <= pool.max_connections / 2:
            surplus = (facts.processes or 1) * (pool.max_connections - size)
            yield Finding(
                f"{pool.label} may open {count(pool.max_connections, 'connection')}; the last "
                f"{seconds(round(load.seconds))} asked for {load.peak} at once, and {size} would do. "
                f"{count(facts.processes or 1, 'process')} may open {surplus} that callers don't need.",
                {"max_connections": pool.max_connections, "busiest": load.peak, "advised": size, "surplus": surplus},
                f"max_connections={size}",
            )


@rule(
    "P3",
    Severity.SEVERE,
    "More calls at once make each of them slower",
    why="""
        The server carries out one command at a time. Where it has no time left, calls that are made at once wait for
        each other there: a larger pool only has more of them wait at the server in place of the pool, and each is held
        for longer. Callers that wait in the pool can be told so; those that wait at the server can't.
    """,
    seen="""
        By the pool's record, 1 000 callers or more in 20 s or more: of those that came while many came (in the same
        100 ms), at least twice as large a share was among the slowest leases as of the others, which chance does in
        less than one of a hundred records (a trend test); and the server used at least half of a core while the doctor
        looked, so that it isn't the callers' own process that is short of time. A queue that is there all the time
        doesn't show so: see S14.
    """,
    write="""
        Don't make the pool larger, however long callers wait for a connection. Let them share one, which costs the
        server less for each command; or have those turned away that would come too late:

        ```python
        import redpool

        shared = redpool.MultiplexedConnectionPool(host="localhost")
        pool = redpool.ConnectionPool(host="localhost", max_connections=10, shed="codel")
        ```
    """,
    source="""
        Gunther, *Guerrilla Capacity Planning* (the universal scalability law); Armitage, *Tests for linear trends in
        proportions and frequencies* (1955).
    """,
    needs=("record info",),
)
def slower_together(facts: Facts) -> Iterator[Finding]:
    """Compare calls that came while many came with the others, where the server is busy."""
    used = facts.server.core_used if facts.server else 0.0
    for pool in counted(facts):
        seen = _slows(facts, pool.record)
        if seen is not None:
            yield Finding(
                f"Of the callers of {pool.label} that came while many came, {share(seen.crowded)} kept their "
                f"connection for more than {seconds(seen.slow)}, of the others {share(seen.other)}; the server uses "
                f"{share(used)} of a core.",
                {"max_connections": pool.max_connections, "slow": Seconds(seen.slow), "where many came": seen.crowded,
                 "of the others": seen.other, "core": round(used, 2)},
            )  # fmt: skip


def _slows(facts: Facts, record: Record | None) -> Slowing | None:
    """Return how calls are slower the more there are at once, if so, and the server is busy."""
    busy = facts.server is not None and facts.server.core_used >= _BUSY
    seen = slowing(record) if record is not None and busy and record.max_connections > 1 else None
    return seen if seen is not None and seen.certainty >= CERTAIN and seen.times >= _TWICE else None


@rule(
    "P4",
    Severity.SEVERE,
    "Callers wait for a connection longer than they may",
    why="""
        A caller that may wait in the pool's queue for as long as its own deadline, or longer, is killed there by its
        worker's or task's timeout. No error says that the pool was full, and the work behind it was for nothing.
    """,
    seen="The pool's `timeout` is `None`, or not below the callers' deadline (`--deadline`, 30 s as gunicorn's).",
    write="""
        ```python
        import redpool

        pool = redpool.ConnectionPool(host="localhost", timeout=2)
        ```
    """,
    source="mcp-context-forge #4572; gunicorn's documentation, *timeout*.",
    needs=("pool",),
)
def waits_too_long(facts: Facts) -> Iterator[Finding]:
    """Compare the wait with the deadline."""
    for pool in facts.pools:
        if pool.waits and (pool.timeout is None or pool.timeout >= facts.deadline):
            waits = "for ever" if pool.timeout is None else f"for {seconds(pool.timeout)}"
            yield Finding(
                f"Callers of {pool.where} wait for a connection {waits}; they have {seconds(facts.deadline)}.",
                {"timeout": "None" if pool.timeout is None else pool.timeout, "deadline": facts.deadline},
                f"timeout={min(5.0, facts.deadline / 4):g}",
            )


@rule(
    "P5",
    Severity.SEVERE,
    "A blocking command waits longer than the socket may be silent",
    why="""
        redis-py gives up on a reply after `socket_timeout`, 5 s since redis-py 8. A BLPOP that waits for longer on
        the server ends in a timeout; it may be sent again, and what it pops meanwhile is lost.
    """,
    seen="""
        The code calls a blocking command of a client of redis-py's or valkey-py's with a timeout that isn't below the
        `socket_timeout` of that client (else of the imported pool, else redis-py's default). redpool adds the
        command's own timeout to the socket's.
    """,
    write="""
        ```python
        import redis

        jobs = redis.Redis(host="localhost", socket_timeout=35)
        job = jobs.blpop("jobs", timeout=0.01)  # up to 30
        ```
    """,
    source="AWS on client timeouts; redis-py #2807, #4125.",
    needs=("code",),
)
def blocks_too_long(facts: Facts) -> Iterator[Finding]:
    """Compare each blocking call's timeout with its socket's."""
    for sighting in facts.sighted(Pattern.BLOCKING_PAST_TIMEOUT):
        limit = _socket_timeout(facts, sighting)
        own = sighting.own_timeout
        if limit is not None and own is not None and (own == 0 or own >= limit):
            waits = "without end" if own == 0 else f"for {seconds(own)}"
            yield Finding(
                f"{sighting.what} waits {waits}, and the connection gives up after {seconds(limit)}.",
                {"timeout": own, "socket_timeout": limit},
                "socket_timeout=None" if own == 0 else f"socket_timeout={own + 5:g}",
                where=sighting,
            )


@rule(
    "P6",
    Severity.SEVERE,
    "One call may take far longer than its caller has",
    why="""
        The wait for a connection, the connect, the handshake and the reply have a timeout each, and the client's
        retries multiply them; a task queue's and an HTTP client's retries multiply that again. With all defaults of
        redis-py 8 a GET from a server that hangs takes 58 s.
    """,
    seen="""
        The wait, and (connect + handshake + reply) times the attempts, are more than the callers' deadline
        (`--deadline`, 30 s); pauses between attempts are not counted. Without a `socket_timeout` there is no bound.
    """,
    write="""
        Bound the whole call, and retry in one place only:

        ```python
        import redpool

        r = redpool.Redis(host="localhost")
        with redpool.deadline(0.5):
            r.get("greeting")
        ```
    """,
    source="AWS Builders' Library, *Timeouts, retries and backoff with jitter*; redis-py #4026.",
    needs=("pool",),
)
def no_bound(facts: Facts) -> Iterator[Finding]:
    """Multiply the timeouts by the attempts."""
    for pool in facts.pools:
        worst, sum_of_it = _worst_case(pool)
        if worst > facts.deadline:
            takes = "is bounded by nothing" if math.isinf(worst) else f"may take {seconds(worst)}"
            yield Finding(
                f"One call over {pool.where} {takes}: {sum_of_it}. Its caller has {seconds(facts.deadline)}.",
                {
                    "worst case": "none" if math.isinf(worst) else worst,
                    "attempts": pool.retries + 1,
                    "deadline": facts.deadline,
                },
            )


@rule(
    "P7",
    Severity.COSTLY,
    "Retries add to the load of a server that is slow",
    why="""
        A late reply says that the server is slow; sending the command once more makes it slower. Where a client, a task
        queue and an HTTP client all try again, each of them multiplies the load, and it stays when its cause is gone.
    """,
    seen="""
        A pool has refused to send late commands again, since retries had used up their budget: more than one in ten
        was late (`stats().retries_refused`). redis-py's and valkey-py's pools have no such budget, and count nothing.
    """,
    write="""
        Find out why the server was late (S10, S11, S14). Retry in one place, with pauses, and don't retry what the pool
        refused: its callers get `ReplyLate`.

        ```python
        import redpool

        r = redpool.Redis(host="localhost")
        try:
            with redpool.deadline(0.5):
                r.get("greeting")
        except redpool.ReplyLate:
            pass  # do without
        ```
    """,
    source="AWS Builders' Library, *Timeouts, retries and backoff with jitter*; Bronson and others, HotOS 2021.",
    needs=("pool", "fleet"),
)
def retries_amplify(facts: Facts) -> Iterator[Finding]:
    """Look at the retry budget."""
    for pool in counted(facts):
        refused = pool.counters.get("retries_refused", 0)
        if refused:
            yield Finding(
                f"Retries over {pool.label} have used up their budget: {count(refused, 'late command')} "
                f"{'was' if refused == 1 else 'were'} not sent again.",
                {"retries_refused": refused},
            )


@rule(
    "P8",
    Severity.COSTLY,
    "Connections don't last",
    why="""
        Connections that break, or that are found broken, cost a connect each, and often a failed call. Something
        closes them: a load balancer, the server's `timeout`, or code that leaves replies unread.
    """,
    seen="""
        After 100 uses: more than 1 % of them ended with the connection closed for `error` or `invalid`; or connects in
        the place of closed connections took more than 1 % of the time that connections were in use.
    """,
    write="""
        By the reason in `stats().closed`: `invalid` (closed by the other side while idle) asks for a shorter
        `max_idle_time` or for `ping_after_idle`; `error` for a look at the errors that callers get; many connects
        without either for a larger `min_idle`.
    """,
    source="OpenTelemetry's conventions, `redis.client.connection.closed`.",
    needs=("pool", "fleet"),
)
def short_lived(facts: Facts) -> Iterator[Finding]:
    """Compare the closes with the uses, and the connects with the time of use."""
    for pool in counted(facts):
        uses = pool.counters.get("released", 0) + pool.counters.get("commands", 0)
        broken = {reason: pool.closed.get(reason, 0) for reason in ("error", "invalid")}
        if uses < _FEW:
            continue
        if sum(broken.values()) > 0.01 * uses:
            shown = ", ".join(f"{number} {reason}" for reason, number in broken.items() if number)
            yield Finding(
                f"{share(sum(broken.values()) / uses)} of the uses of {pool.label} broke a connection: {shown}.",
                {"uses": uses, **broken},
            )
            continue
        # Each connection that still stands had to be connected once.
        again = min(pool.connect.count, sum(pool.closed.values()))
        took = again and pool.connect.sum / pool.connect.count * again
        if pool.use.sum and took > 0.01 * pool.use.sum and again > 0.01 * uses:
            yield Finding(
                f"{pool.label} has spent {seconds(round(took, 2))} on {count(again, 'connect')} in the place of "
                f"connections that were closed, {share(took / pool.use.sum)} of the time that connections were in use.",
                {"connects": again, "connecting": took, "in use": pool.use.sum},
            )


@rule(
    "P9",
    Severity.COSTLY,
    "Connections live for ever",
    why="""
        A connection stays with the machine and the token that it was made with. After a failover by DNS it goes on
        with the old one; when its token ends (24 h with Azure, 12 h with IAM) the server hangs up in the middle of a
        call.
    """,
    seen="""
        The pool has no `max_lifetime` (redis-py's and valkey-py's pools never have one), and a credential provider or
        the host of a managed service.
    """,
    write="""
        ```python
        import redpool

        pool = redpool.ConnectionPool(host="localhost", max_lifetime=3600)  # the default
        ```
    """,
    source="redis-py #3895; Jedis PR #3224.",
    needs=("pool",),
)
def lives_for_ever(facts: Facts) -> Iterator[Finding]:
    """Look for a lifetime where one is needed."""
    for pool in facts.pools:
        managed = bool(_MOVING.search(pool.host))
        if pool.max_lifetime is None and (pool.credentials_change or managed):
            reason = (
                "gets its credentials from a provider" if pool.credentials_change else "connects to a managed service"
            )
            yield Finding(
                f"{pool.where} {reason}, and never replaces a connection.",
                {"max_lifetime": "None", "host": pool.host},
                "max_lifetime=3600" if pool.ours else f"{_home(pool)}.ConnectionPool(..., max_lifetime=3600)",
            )


@rule(
    "P10",
    Severity.COSTLY,
    "Connections are not given back",
    why="""
        A connection that its borrower keeps, or drops without releasing it, is one less for the others until it is
        collected as garbage; enough of them, and every caller gets `PoolTimeout`.
    """,
    seen="A pool has counted leases older than `leak_after`, or connections closed as `leaked`.",
    write="""
        ```python
        import redpool

        pool = redpool.ConnectionPool(host="localhost", leak_after=30)  # reports the stack that took it
        with pool.connection() as connection:  # given back whatever happens
            connection.send_command("PING")
            connection.read_response()
        ```
    """,
    source="redis-py #2995, #163.",
    needs=("pool", "fleet"),
)
def leaking(facts: Facts) -> Iterator[Finding]:
    """Look at the counters of leaks."""
    for pool in counted(facts):
        held, dropped = pool.counters.get("leaks", 0), pool.closed.get("leaked", 0)
        if held or dropped:
            parts = [f"{count(held, 'connection')} held for longer than leak_after"] if held else []
            parts += [f"{count(dropped, 'connection')} dropped without a release"] if dropped else []
            yield Finding(f"{pool.label} has had {' and '.join(parts)}.", {"leaks": held, "leaked": dropped})


@rule(
    "P13",
    Severity.SEVERE,
    "A pool is made again and again",
    why="""
        A client without a pool of its own makes one. Made for each request or task it never reuses a connection: each
        call pays for a connect, the server sees a stream of new clients, and the pool's limit limits nothing.
    """,
    seen="""
        In the code: a pool or client is made in a function that handles requests or tasks, or (costly) in one that
        makes it, uses it and forgets it. In a process: five pools or more for the same address, of the fleet's
        reports or of what `--pool` imports.
    """,
    write="""
        Once for each process, at module level or when the application starts:

        ```python
        import redpool

        r = redpool.Redis(host="localhost", max_connections=10)


        def view(request):
            return r.get("greeting")
        ```
    """,
    source="StackExchange.Redis #3030; pycket #2; django-redis-cache #140.",
    needs=("code", "pool", "fleet"),
)
def made_again(facts: Facts) -> Iterator[Finding]:
    """Look at the code, at this process and at those of the fleet."""
    for sighting in facts.sighted(Pattern.POOL_PER_CALL):
        often = "for each request or task" if sighting.on_request else "at each call"
        yield Finding(
            f"{sighting.what} is made {often}, in {sighting.function}.",
            where=sighting,
            severity=None if sighting.on_request else Severity.COSTLY,
        )
    for name, pools in _by_address(facts).items():
        if pools[0].siblings >= _TOO_MANY_POOLS:
            yield Finding(
                f"Importing {pools[0].where} makes {pools[0].siblings} pools for the server of {name}.",
                {"pools": pools[0].siblings},
            )
    for process in facts.fleet.processes if facts.fleet else ():
        alike = Counter((pool.address, _NUMBERED.sub("", pool.name)) for pool in process.pools)
        for (address, name), number in alike.items():
            if number >= _TOO_MANY_POOLS:
                yield Finding(f"{process.key} has {number} pools {name} for {address}.", {"pools": number})


@rule(
    "P14",
    Severity.SEVERE,
    "An asyncio client is used across a fork",
    why="""
        The asyncio pools of redis-py and valkey-py don't notice a fork. A child that inherits their open connections
        talks over its parent's sockets, and both get each other's replies, or wait for ever. Their pools for threads
        notice it, and redpool's of both kinds.
    """,
    seen="""
        The imported pool is such a pool, and had open connections as soon as it was imported (a server that preloads
        the application forks after that); or the code makes such a client at module level in a file that also forks.
    """,
    write="""
        Make it in the child: in the worker's start-up hook, or in the function that the child runs; or use
        `redpool.asyncio`. With multiprocessing, `get_context("spawn")`.
    """,
    source="redis-py #863; valkey-glide PR #6679.",
    needs=("code", "pool"),
)
def before_fork(facts: Facts) -> Iterator[Finding]:
    """Look for asyncio pools that a child would inherit."""
    for sighting in facts.sighted(Pattern.ASYNC_BEFORE_FORK):
        yield Finding(f"{sighting.what} is made at module level, and this file forks.", where=sighting)
    for pool in facts.pools:
        if not pool.ours and pool.shell == "asyncio" and pool.open:
            yield Finding(
                f"{pool.where} has {count(pool.open, 'connection')} open as soon as it is imported.",
                {"open": pool.open},
            )


@rule(
    "P15",
    Severity.COSTLY,
    "An event loop for each call",
    why="""
        A connection belongs to the event loop that it was opened on. `asyncio.run` and `async_to_sync` make a loop
        for each call, so each call connects anew; with redis-py's pool the connections of the loop before fail with
        *Event loop is closed*.
    """,
    seen="""
        `asyncio.run` or `async_to_sync` is called in a function that handles requests or tasks, or in a loop; and
        that file, or the one of the coroutine, has an asyncio client.
    """,
    write="""
        Use a client for threads where the code is synchronous:

        ```python
        import redpool

        r = redpool.Redis(host="localhost")


        def task():
            return r.get("greeting")
        ```
    """,
    source="channels_redis #125; eventyay #1162; redis-py #3351.",
    needs=("code",),
)
def loop_per_call(facts: Facts) -> Iterator[Finding]:
    """Look at the code."""
    for sighting in facts.sighted(Pattern.LOOP_PER_CALL):
        yield Finding(f"{sighting.what} makes an event loop at each call of {sighting.function}.", where=sighting)


@rule(
    "P18",
    Severity.COSTLY,
    "The queue in front of the pool has no bound",
    why="""
        When more callers come than the server serves, each waits longer than the one before. Those with a deadline
        leave before their turn, or just after their command was sent, and the server works for callers that are gone.
        With a bound some are told at once, and the others are served.
    """,
    seen="""
        `max_waiting` and `shed` are `None`; and after 100 callers the p99 of waits is above half of the callers'
        deadline (`--deadline`, 30 s), or more than 1 % of the callers have waited in vain.
    """,
    write="""
        ```python
        import redpool

        pool = redpool.ConnectionPool(host="localhost", shed="codel")  # needs no number
        pool = redpool.ConnectionPool(host="localhost", max_connections=10, max_waiting=40)
        ```

        `max_waiting` must be above the largest burst, or it turns callers away that would have been served: at least
        four times `max_connections`.
    """,
    source="RFC 8289; docs/overload.md, with the simulations.",
    needs=("pool", "fleet"),
)
def no_bound_on_the_queue(facts: Facts) -> Iterator[Finding]:
    """Compare waits and timeouts with what callers have."""
    for pool in counted(facts):
        timeouts = pool.counters.get("timeouts", 0)
        callers, wait = pool.counters.get("acquired", 0) + timeouts, pool.wait.quantile(0.99)
        if pool.bounded is not False or callers < _FEW:
            continue
        if wait > facts.deadline / 2 or timeouts > 0.01 * callers:
            burst = max((each.callers for each in pool.record.arrivals), default=0) if pool.record else 0
            yield Finding(
                f"The queue of {pool.label} has no bound; callers wait {seconds(wait)} at the p99, and "
                f"{share(timeouts / callers)} of them in vain.",
                {
                    "p99 wait": Seconds(wait),
                    "deadline": Seconds(facts.deadline),
                    "timeouts": timeouts,
                    "callers": callers,
                }
                | ({"largest burst": burst} if burst else {}),
                f'shed="codel"  # or max_waiting={max(4 * pool.max_connections, burst)}',
            )


def _home(pool: PoolFacts) -> str:
    """Return the package that has pools of this shell."""
    return "redpool.asyncio" if pool.shell == "asyncio" else "redpool"


def _worst_case(pool: PoolFacts) -> tuple[float, str]:
    """Return how long a call may take at most, and the sum of which that is the result."""
    wait = (math.inf if pool.timeout is None else pool.timeout) if pool.waits else 0.0
    connect, reply = (math.inf if value is None else value for value in (pool.connect_timeout, pool.socket_timeout))
    attempts = math.inf if pool.retries < 0 else pool.retries + 1
    shown = [f"{value:g}" if not math.isinf(value) else "∞" for value in (wait, attempts, connect, reply, reply)]
    text = "{} s wait + {} times ({} s connect + {} s handshake + {} s reply)".format(*shown)
    return wait + attempts * (connect + 2 * reply), text


def _socket_timeout(facts: Facts, sighting: Sighting) -> float | None:
    if sighting.socket_timeout is not None:
        return sighting.socket_timeout
    theirs = [pool.socket_timeout for pool in facts.pools if not pool.ours]
    if theirs:
        return theirs[0]
    major = (facts.redis_py or "0").partition(".")[0]
    return _DEFAULT_SOCKET_TIMEOUT if major.isdigit() and int(major) >= 8 else None


def _by_address(facts: Facts) -> dict[str, list[PoolFacts]]:
    found: dict[str, list[PoolFacts]] = defaultdict(list)
    for pool in facts.pools:
        found[pool.name].append(pool)
    return found
