"""Which size a pool should have: its record, replayed in the pool's own decisions against other sizes. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeAlias

from ..core.arrivals import SLOTS_A_SECOND
from ..core.config import MOST_CONNECTIONS, PoolConfig
from ..core.record import Record
from . import formulas
from .replay import replayed
from .simulator import Outcome, Simulator
from .workloads import Caller

LEAST_TARGET = 0.002
"""seconds: a p99 wait of so much is nothing to improve"""
SHARE = 0.99
WIDE_HOLDS = 4.0
"""above this squared coefficient of variation of the holds, one connection more is advised: the next minute differs"""
GUESSED_DISPERSION = 4.0
"""of arrivals that were not recorded"""
LEAST_WORK = 20e-6
"""seconds of a shared connection's time that a command takes at least: the client's and the server's work for it"""
OF_ITS_OWN = 1.0
"""seconds: a caller that has a connection for longer blocks on it, or listens, and needs one of its own"""
DISPERSION_SLOTS = 10
"""arrivals are counted by so many slots together, 100 ms, to see how much they bunch"""

Tell: TypeAlias = Callable[[str], None]
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
    shared_p99: float | None = None
    """the p99 wait for those before, where all callers shared one connection; `None` where they can't"""
    guessed: bool = False
    """from counters alone: how arrivals bunch is a guess"""
    notes: tuple[str, ...] = ()

    def to_dict(self) -> Plain:
        """Return the advice as plain dictionaries and numbers, ready for JSON."""
        return {name: _plain(value) for name, value in asdict(self).items()}

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
    seed: int = 0,
    tell: Tell | None = None,
) -> Advice:
    """Return the smallest size of a pool that meets the target with the callers of a record.

    `target` is the wait in seconds that 99 % of the callers have at most (default: the median hold, at least 2 ms);
    `ceiling` the most connections that the process may have. `tell` hears which size is tried.

    Raises `ValueError` for a target or a ceiling that makes no sense, and for a record without a caller.
    """
    if target is not None and not 0 < target < math.inf:
        raise ValueError(f"target must be above 0 seconds, not {target!r}")
    if ceiling is not None and ceiling < 1:
        raise ValueError(f"ceiling must be at least 1, not {ceiling!r}")
    callers, seconds = replayed(record, seed)
    if came(record) <= 0 or not callers:
        raise ValueError(f"{record.name}: no caller came in the {record.seconds:.0f} s of the record")
    load = load_of(record, callers, seconds)
    wanted = max(load.median_hold, LEAST_TARGET) if target is None else target
    search = _Search(callers, seconds, wanted, seed, tell or _silent)
    size = search.smallest(max(1, math.ceil(load.busy)), max(1, load.peak))
    if load.variation > WIDE_HOLDS:
        size += 1
    floor = formulas.deadlock_floor(min(record.nesting, record.callers), record.deepest)
    size = max(size, floor)
    if ceiling is not None:
        size = min(size, ceiling)
    size = min(size, MOST_CONNECTIONS)
    curve = search.curve(size, load)
    chosen = next(each for each in curve if each.size == size)
    on_demand = search.run(size, warm=False).wait(SHARE)
    advice = Advice(
        record.name, record.max_connections, size, wanted, chosen.wait_p99 <= wanted, load, curve,
        min_idle=size if chosen.wait_p99 <= wanted < on_demand else 0,
        on_demand_p99=on_demand, deadlock_floor=floor, ceiling=ceiling, shared_p99=_shared(record, callers),
    )  # fmt: skip
    return replace(advice, notes=tuple(_notes(advice, record)))


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
        near = {each for each in range(size - 2, size + 3) if each >= least}
        far = {each for each in (2 * size, max(load.peak, size)) if each <= MOST_CONNECTIONS}
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
    return sum(each.callers for each in record.arrivals) - (record.kept if record.commands else 0)


def load_of(record: Record, callers: Sequence[Caller], seconds: float) -> Load:
    """Return what was asked of the pool that a record is of."""
    holds = sorted(min(caller.hold, seconds - caller.at) for caller in callers)
    mean = sum(holds) / len(holds)
    variance = sum((hold - mean) ** 2 for hold in holds) / len(holds)
    return Load(
        seconds, len(callers), len(callers) / seconds, sum(holds) / seconds, peak_of(callers), holds[len(holds) // 2],
        mean, variance / mean**2 if mean else 0.0, dispersion_of(record),
    )  # fmt: skip


def peak_of(callers: Sequence[Caller]) -> int:
    """Return how many callers had a connection at once, had each been served at once."""
    changes = sorted([(caller.at, 1) for caller in callers] + [(caller.at + caller.hold, -1) for caller in callers])
    in_use = peak = 0
    for _, change in changes:
        in_use += change
        peak = max(peak, in_use)
    return peak


def dispersion_of(record: Record) -> float:
    """Return the variance over the mean of how many callers came in 100 ms."""
    each: Counter[int] = Counter()
    for arrivals in record.arrivals:
        each[arrivals.slot // DISPERSION_SLOTS] += arrivals.callers
    count = max(1, int(record.seconds * SLOTS_A_SECOND / DISPERSION_SLOTS))
    mean = sum(each.values()) / count
    variance = (sum((n - mean) ** 2 for n in each.values()) + (count - len(each)) * mean**2) / count
    return variance / mean if mean else 1.0


def _shared(record: Record, callers: Sequence[Caller]) -> float | None:
    """Return the p99 wait of callers that all share one connection; `None` where some need one of their own.

    A connection that is shared answers in order. What a hold takes beyond the quickest ones is taken for the server's
    time, as if each command kept it busy for so long: so the wait is rather too long than too short.
    """
    if record.nesting or max([*record.held, *(lease.seconds for lease in record.longest)], default=0.0) > OF_ITS_OWN:
        return None
    holds = sorted(caller.hold for caller in callers)
    quickest = holds[len(holds) // 20]
    works = [max(0.0, caller.hold - quickest) + LEAST_WORK for caller in callers]
    if sum(works) >= record.seconds:
        return math.inf
    return formulas.one_by_one([caller.at for caller in callers], works, SHARE)


def _notes(advice: Advice, record: Record) -> list[str]:
    load = advice.load
    said = [
        f"{load.rate:.0f} callers/s keep {load.busy:.1f} connections busy on average, {load.peak} at most",
    ]
    if record.commands:
        said.append(f"beside them {record.commands} commands have gone over shared connections, of which one is enough")
    if load.dispersion > 2:
        said.append(
            f"callers bunch: in 100 ms their number has {load.dispersion:.0f} times the variance of independent ones"
        )
    if load.variation > WIDE_HOLDS:
        said.append("some hold a connection far longer than most: one connection more than the minute needed")
    if advice.min_idle:
        said.append(f"min_idle={advice.min_idle} keeps them open: on demand the p99 is {_ms(advice.on_demand_p99)}")
    if advice.deadlock_floor:
        said.append(
            f"{record.nesting} callers had up to {record.deepest} connections at once: "
            f"with fewer than {advice.deadlock_floor} they could block each other"
        )
    if advice.ceiling is not None and advice.size == advice.ceiling and not advice.met:
        said.append(f"the server leaves {advice.ceiling} connections to each process: more would be better")
    if advice.shared_p99 is not None:
        verdict = "would do" if advice.shared_p99 <= advice.target else "would not do"
        wait = milliseconds(advice.shared_p99)
        said.append(f"one shared connection (MultiplexedConnectionPool) {verdict}: p99 wait {wait}")
    if record.timeouts or (record.wait_p99 > advice.target and load.peak >= record.max_connections):
        said.append("the pool was short when it was recorded, so callers came later than they would have: record again")
    if load.callers < 1000 and record.commands < 1000:
        said.append(f"only {load.callers} callers came: record while there is load")
    return said


def milliseconds(seconds: float) -> str:
    """Return a time as people read it."""
    return "without end" if math.isinf(seconds) else f"{seconds * 1e3:.1f} ms"


def _ms(seconds: float | None) -> str:
    return "unknown" if seconds is None else milliseconds(seconds)


def _plain(value: Any) -> Any:
    """Return what JSON has: it knows no infinity."""
    if isinstance(value, float) and math.isinf(value):
        return None
    return value


def _silent(_what: str) -> None:
    """Tell nothing."""
