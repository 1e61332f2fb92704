"""Which size a pool should have: its record, replayed in the pool's own decisions against other sizes. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from random import Random
from typing import Any, TypeAlias

from ..core.config import MOST_CONNECTIONS, PoolConfig
from ..core.record import CONNECTS, Record
from . import formulas
from .replay import LEAST_TARGET, needed_at_most, replayed, shared_by_callers
from .simulator import Outcome, Simulator
from .workloads import Caller

SHARE = 0.99
WIDE_HOLDS = 4.0
"""above this squared coefficient of variation of the holds, one connection more is advised: the next minute differs"""
GUESSED_DISPERSION = 4.0
"""of arrivals that were not recorded"""
CLIENT_WORK = 20e-6
"""seconds of a shared connection's time that a command takes beside the server's: for the client's part"""
OF_ITS_OWN = 1.0
"""seconds: a caller that has a connection for longer blocks on it, or listens, and needs one of its own"""
DISPERSION_SECONDS = 0.1
"""callers are counted by so long a time, to see how much they bunch"""
FEW_CALLERS = 100
"""of fewer, one alone decides what the p99 is"""

Tell: TypeAlias = Callable[[str], None]
Commands: TypeAlias = Sequence[tuple[float, int]]
"""what commands take by the server's own count: seconds of each kind of them, and how many there were"""
Plain: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A size, and what it would have been like. Times are in seconds."""

    size: int
    wait_p99: float
    waited: float
    """the share of callers that waited at all"""
    longest_wait: float
    idle_seconds: float
    """connections times seconds that they were open and idle"""


@dataclass(frozen=True, slots=True)
class Load:
    """What was asked of the pool. Times are in seconds."""

    seconds: float
    """for how long it was watched"""
    callers: int
    rate: float
    """callers a second"""
    busy: float
    """connections in use on average"""
    peak: int
    """the most connections in use at once, had all callers been served at once; 0 where that is unknown"""
    median_hold: float
    mean_hold: float
    variation: float
    """squared coefficient of variation of the holds; 1 for exponential ones"""
    dispersion: float
    """variance over mean of the callers in 100 ms; 1 where they come independently of each other"""


@dataclass(frozen=True, slots=True)
class Advice:
    """How large a pool should be, and why. `str()` of it is for people, `to_dict()` for programs."""

    name: str
    now: int
    """`max_connections` of the pool that was recorded; 0 where that is unknown"""
    size: int
    """what `max_connections` should be"""
    target: float
    """the p99 wait in seconds that it meets"""
    met: bool
    load: Load
    curve: tuple[Candidate, ...]
    min_idle: int = 0
    """connections to be kept ready; 0 where the pool connects early enough by itself"""
    on_demand_p99: float | None = None
    """the p99 wait of a pool of that size that begins with no connection and keeps none ready"""
    deadlock_floor: int = 0
    """below this size callers that need several connections could block each other; 0 where none was seen"""
    ceiling: int | None = None
    """as many connections as the server leaves to each process"""
    shared: bool | None = None
    """whether all callers could share one connection and meet the target; `None` where nothing tells, or they do"""
    shared_p99: float | None = None
    """the p99 wait for each other on it, by what the server says that commands take; `None` where it wasn't asked"""
    guessed: bool = False
    """from counters alone: how arrivals bunch is a guess"""
    notes: tuple[str, ...] = ()

    def to_dict(self) -> Plain:
        """Return the advice as plain dictionaries and numbers, ready for JSON: `None` is without end, or not known."""
        plain: Plain = _plain(asdict(self))
        plain["now"] = self.now or None
        plain["load"]["peak"] = self.load.peak or None
        return plain

    def __str__(self) -> str:
        keep = f", min_idle={self.min_idle}" if self.min_idle else ""
        chosen = next((each for each in self.curve if each.size == self.size), None)
        wait = f": p99 wait {milliseconds(chosen.wait_p99)}" if chosen else ""
        met = "target" if self.met else "misses the target of"
        return "\n".join(
            [
                f"{self.name}: max_connections={self.size}{keep}{wait}, {met} {milliseconds(self.target)}"
                + (f" (now {self.now})" if self.now else ""),
                *(f"  {note}" for note in self.notes),
            ]
        )


def advise(
    record: Record,
    *,
    target: float | None = None,
    ceiling: int | None = None,
    load: float = 1.0,
    commands: Commands = (),
    seed: int = 0,
    tell: Tell | None = None,
) -> Advice:
    """Return the smallest size of a pool that meets the target with the callers of a record.

    `target` is the wait in seconds that 99 % of the callers have at most (default: the median hold, at least 2 ms);
    `ceiling` the most connections that the process may have; `load` how many times as many callers are to come;
    `commands` what the server says that they take: without it, nothing tells whether callers could share a connection.
    `tell` hears which size is tried.

    Raises `ValueError` for a target, a ceiling or a load that makes no sense, and for a record without a caller.
    """
    if target is not None and not 0 < target < math.inf:
        raise ValueError(f"target must be above 0 seconds, not {target!r}")
    if ceiling is not None and ceiling < 1:
        raise ValueError(f"ceiling must be at least 1, not {ceiling!r}")
    if not 0 < load < math.inf:
        raise ValueError(f"load must be above 0, not {load!r}")
    callers, seconds = replayed(record, seed, load)
    if came(record) <= 0 or not callers:
        raise ValueError(f"{record.name}: no caller came in the {record.seconds:.0f} s of the record")
    asked = load_of(callers, seconds)
    wanted = max(asked.median_hold, LEAST_TARGET) if target is None else target
    search = _Search(callers, seconds, wanted, seed, tell or _silent)
    nesting = math.ceil(load * min(record.nesting, record.callers))
    floor = formulas.deadlock_floor(nesting, record.deepest)
    most = needed_at_most(record)
    size = search.smallest(max(1, math.ceil(asked.busy)), max(1, asked.peak))
    if asked.variation > WIDE_HOLDS and (most is None or size < asked.peak):
        size += 1
    beside = shared_by_callers(record)
    left = MOST_CONNECTIONS - beside if ceiling is None else ceiling - beside
    size = max(1, min(max(size, floor), left))
    curve = search.curve(size, asked)
    chosen = next(each for each in curve if each.size == size)
    as_it_was = most is not None and size == asked.peak == most * math.ceil(load)
    on_demand = record.wait_p99 if as_it_was else search.run(size, warm=False).wait(SHARE)
    keeps = chosen.wait_p99 <= wanted < on_demand and asked.callers >= FEW_CALLERS
    shared_p99 = _shared_p99(callers, asked, commands, seed)
    advice = Advice(
        record.name, record.max_connections, size + beside, wanted, chosen.wait_p99 <= wanted, asked,
        tuple(replace(each, size=each.size + beside) for each in curve),
        min_idle=size + beside if keeps else 0, on_demand_p99=on_demand,
        deadlock_floor=floor + beside if floor else 0, ceiling=ceiling,
        shared=_may_share(record, size, wanted, shared_p99), shared_p99=shared_p99,
    )  # fmt: skip
    return replace(advice, notes=tuple(_notes(advice, record, load)))


class _Search:
    """Replays of the same callers against pools of several sizes; each size is replayed once."""

    def __init__(self, callers: Sequence[Caller], seconds: float, target: float, seed: int, tell: Tell) -> None:
        self._callers, self._seconds, self._target, self._seed, self._tell = callers, seconds, target, seed, tell
        self._whole: dict[int, Outcome] = {}

    def run(self, size: int, *, warm: bool = True, most_late: int | None = None) -> Outcome:
        """Replay against a pool of this size; break it off once more than `most_late` callers wait for too long."""
        self._tell(f"{size} connections")
        config = PoolConfig(max_connections=size, timeout=None, max_idle_time=None, ping_after_idle=None)
        stop = None if most_late is None else (self._target, most_late)
        return Simulator(config, seed=self._seed, warm=warm, stop_above=stop).run(self._callers, self._seconds)

    def meets(self, size: int) -> bool:
        """Return whether the p99 wait is within the target."""
        outcome = self.run(size, most_late=int((1 - SHARE) * len(self._callers)))
        if not outcome.stopped:
            self._whole[size] = outcome
        return not outcome.stopped and outcome.wait(SHARE) <= self._target

    def smallest(self, low: int, high: int) -> int:
        """Return the smallest size that meets the target; `high` does."""
        while low < high:
            middle = (low + high) // 2
            if self.meets(middle):
                high = middle
            else:
                low = middle + 1
        return low

    def curve(self, size: int, load: Load) -> tuple[Candidate, ...]:
        """Return what some sizes would have been like: those around the one that is advised, and some further away."""
        least = max(1, math.ceil(load.busy))
        most = min(max(load.peak, size), MOST_CONNECTIONS)  # beyond that none would be used
        near = {each for each in range(size - 2, size + 3) if least <= each <= most}
        far = {min(2 * size, most), most}
        return tuple(self._candidate(each) for each in sorted({size, least, *near, *far}))

    def _candidate(self, size: int) -> Candidate:
        outcome = self._whole.get(size) or self.run(size)
        callers = outcome.granted + outcome.timeouts
        return Candidate(
            size,
            outcome.wait(SHARE),
            len(outcome.waits) / callers if callers else 0.0,
            max(outcome.waits, default=0.0),
            outcome.idle_seconds,
        )


def came(record: Record) -> int:
    """Return how many callers took a connection of their own. The pool itself is one for each that callers share."""
    return sum(each.callers for each in record.arrivals) - shared_by_callers(record)


def load_of(callers: Sequence[Caller], seconds: float) -> Load:
    """Return what callers that come within so many seconds ask of a pool."""
    holds = sorted(min(caller.hold, seconds - caller.at) for caller in callers)
    mean = sum(holds) / len(holds)
    variance = sum((hold - mean) ** 2 for hold in holds) / len(holds)
    return Load(
        seconds, len(callers), len(callers) / seconds, sum(holds) / seconds, peak_of(callers), holds[len(holds) // 2],
        mean, variance / mean**2 if mean else 0.0, dispersion_of(callers, seconds),
    )  # fmt: skip


def peak_of(callers: Sequence[Caller]) -> int:
    """Return how many callers had a connection at once, had each been served at once."""
    changes = sorted([(caller.at, 1) for caller in callers] + [(caller.at + caller.hold, -1) for caller in callers])
    in_use = peak = 0
    for _, change in changes:
        in_use += change
        peak = max(peak, in_use)
    return peak


def dispersion_of(callers: Sequence[Caller], seconds: float) -> float:
    """Return the variance over the mean of how many callers came in 100 ms."""
    each = Counter(int(caller.at / DISPERSION_SECONDS) for caller in callers)
    count = max(1, int(seconds / DISPERSION_SECONDS))
    mean = sum(each.values()) / count
    variance = (sum((n - mean) ** 2 for n in each.values()) + (count - len(each)) * mean**2) / count
    return variance / mean if mean else 1.0


def _shared_p99(callers: Sequence[Caller], load: Load, commands: Commands, seed: int) -> float | None:
    """Return the p99 wait of callers for each other on one connection, which the server answers in order.

    How long they had connections of their own says nothing of that: it has the network's time and the interpreter's in
    it, which pass for all callers of a shared connection at once. What the server itself counts is what they wait for.
    As many of them are there at once as have connections of their own.
    """
    if not any(count for _, count in commands):
        return None
    works = Random(f"commands {seed}").choices(
        [each + CLIENT_WORK for each, _ in commands], [count for _, count in commands], k=len(callers)
    )
    if sum(works) >= load.seconds:
        return math.inf
    return formulas.one_by_one([caller.at for caller in callers], works, SHARE, load.peak)


def _may_share(record: Record, size: int, target: float, p99: float | None) -> bool | None:
    """Return whether callers could share one connection: a no only where some need one of their own."""
    if record.commands:
        return None
    if record.nesting or max([*record.held, *(lease.seconds for lease in record.longest)], default=0.0) > OF_ITS_OWN:
        return False
    return True if size == 1 or (p99 is not None and p99 <= target) else None


def _notes(advice: Advice, record: Record, times: float) -> list[str]:
    load, shared, most = advice.load, shared_by_callers(record), needed_at_most(record)
    more = "" if times == 1 else f", {times:g} times those of the record,"
    rate = f"{load.rate:.0f}" if load.rate >= 10 else f"{load.rate:.2g}"
    said = [
        f"{rate} callers/s{more} keep {load.busy:.1f} connections busy on average, {load.peak} at most",
    ]
    bounded = most is not None and load.peak == most * math.ceil(times)
    if bounded and times == 1:
        said.append(f"more were never needed: the pool had opened {most}, and 99 % of its callers hardly waited")
    if shared:
        said.append(
            f"{shared} of the connections {'is' if shared == 1 else 'are'} shared: {record.commands} commands have "
            "gone over shared ones, of which one is enough"
        )
    if load.dispersion > 2 and not bounded:
        said.append(
            f"callers bunch: in 100 ms their number has {load.dispersion:.0f} times the variance of independent ones"
        )
    if load.variation > WIDE_HOLDS and (most is None or advice.size - shared < load.peak):
        said.append("some hold a connection far longer than most: one connection more than the minute needed")
    if advice.min_idle:
        said.append(f"min_idle={advice.min_idle} keeps them open: on demand the p99 is {_ms(advice.on_demand_p99)}")
    if advice.deadlock_floor:
        said.append(
            f"{record.nesting} callers had up to {record.deepest} connections at once: "
            f"with fewer than {advice.deadlock_floor} they could block each other"
        )
    said += out_of_room(advice)
    said += _of_sharing(advice, record)
    if record.timeouts or (record.wait_p99 > advice.target and load.peak >= times * record.max_connections):
        said.append(_of_waits(advice, record))
    if load.callers < 1000 and record.commands < 1000:
        said.append(f"only {load.callers} callers came: record while there is load")
    return said


def _of_waits(advice: Advice, record: Record) -> str:
    """Return what is said where callers waited for long; a pool that never had all its connections was not short."""
    opened = len(record.connects)
    late = "came later than they would have: record again"
    if record.timeouts or opened >= min(record.max_connections, CONNECTS):
        return f"the pool was short when it was recorded, so callers {late}, with more connections"
    enough = max(advice.size, min(record.max_connections, advice.load.peak))
    more = f"max_connections={enough}, " if enough > record.max_connections else ""
    return (
        f"the pool had opened {opened} of {record.max_connections} when it was recorded, and callers waited for "
        f"connects, so they {late}, with {more}min_idle={enough}"
    )


def out_of_room(advice: Advice) -> list[str]:
    """Return what is said where the server has no room for more."""
    if advice.ceiling is None or advice.size < advice.ceiling or advice.met:
        return []
    return [f"the server leaves {advice.ceiling} connections to each process: more would be better"]


def _of_sharing(advice: Advice, record: Record) -> list[str]:
    """Return what can be said of one connection that all callers share."""
    wait = advice.shared_p99
    if record.commands or (advice.size == 1 and advice.shared is not False):
        return []
    if advice.shared is False:
        return ["some callers block on their connection, or have several at once: these can't share one, others may"]
    one = "one shared connection (MultiplexedConnectionPool)"
    if wait is None:
        return [f"{one} may do: a record can't tell; try it, or see `redpool tune --url`"]
    if advice.shared:
        return [f"{one} would do: p99 wait {milliseconds(wait)}"]
    return [
        f"{one} may do: commands wait for each other at the server, {milliseconds(wait)} at the p99, "
        "and do so over any number of connections"
    ]


def milliseconds(seconds: float) -> str:
    """Return a time as people read it."""
    return "without end" if math.isinf(seconds) else f"{seconds * 1e3:.1f} ms"


def _ms(seconds: float | None) -> str:
    return "unknown" if seconds is None else milliseconds(seconds)


def _plain(value: Any) -> Any:
    """Return a value, and all that is in it, as JSON has it: it knows no infinity."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and math.isinf(value) else value


def _silent(_what: str) -> None:
    """Tell nothing."""
