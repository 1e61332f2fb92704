"""A log-linear histogram of durations, in fixed memory.

The buckets are those of HdrHistogram (Gil Tene): sixteen equal steps for each power of two, hence a relative error
of at most 1/32. An IEEE 754 double has them built in: its upper sixteen bits are sign, exponent and the first four
bits of the fraction, and for numbers of 0 and more they grow with the number. So values are gathered as they come and
sorted into buckets many at a time, by code that runs in C.
"""

from __future__ import annotations

import operator
import struct
import sys
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from itertools import accumulate

GATHER = 512
"""How many values are gathered before they are sorted in."""

LATEST = 31
"""So many, the latest ones, are known as they came."""

BOUNDS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
"""The bounds in seconds of a `Distribution`: the same for all pools and processes, so that theirs add up."""

# Among the four times sixteen bits of a double, and among its bytes: a negative one's is no ASCII character.
_UPPER, _SIGN, _REST = (3, 7, 6) if sys.byteorder == "little" else (0, 0, 1)


@dataclass(frozen=True, slots=True)
class Summary:
    """What a histogram says: how many values, their mean, some quantiles and the largest. Times are in seconds."""

    count: int = 0
    mean: float = 0.0
    p50: float = 0.0
    p90: float = 0.0
    p99: float = 0.0
    p999: float = 0.0
    max: float = 0.0

    def to_dict(self) -> dict[str, float]:
        """Return the same as a plain dict."""
        return asdict(self)

    @classmethod
    def of_counts(cls, counts: Sequence[int]) -> Summary:
        """Return the summary of whole numbers, of which `counts[n]` were n."""
        return cls.of_members(members(counts))

    @classmethod
    def of_members(cls, members: Sequence[tuple[int, int]]) -> Summary:
        """Return the same, given each number in ascending order, and how many there were of it."""
        reached = list(accumulate(count for _, count in members))
        if not reached:
            return cls()
        total = reached[-1]
        quantiles = (members[bisect_left(reached, share * total)][0] for share in (0.5, 0.9, 0.99, 0.999, 1.0))
        return cls(total, sum(n * count for n, count in members) / total, *map(float, quantiles))


@dataclass(frozen=True, slots=True)
class Distribution:
    """How many of a pool's durations are at or below each of `BOUNDS`: quantiles don't add up over processes, these do.

    A duration within 1/32 of a bound may be counted on its other side.
    """

    counts: tuple[int, ...] = (0,) * (len(BOUNDS) + 1)
    """how many are at or below each bound, and as the last all of them"""
    sum: float = 0.0
    """all of them together, in seconds"""

    @property
    def count(self) -> int:
        """How many durations there are."""
        return self.counts[-1]

    def __add__(self, other: Distribution) -> Distribution:
        """Return the distribution of both together."""
        return Distribution(tuple(map(operator.add, self.counts, other.counts)), self.sum + other.sum)

    def since(self, before: Distribution) -> Distribution:
        """Return what was counted since then; all of this one where that was of another pool, or before a reset."""
        if any(map(operator.gt, before.counts, self.counts)):
            return self
        return Distribution(tuple(map(operator.sub, self.counts, before.counts)), max(0.0, self.sum - before.sum))

    def quantile(self, share: float) -> float:
        """Return the duration that `share` (0 to 1) are at or below, taken as even between two bounds; 0 without any.

        The largest bound stands for those above it.
        """
        wanted = share * self.count
        place = bisect_left(self.counts, wanted)
        if place >= len(BOUNDS):
            return BOUNDS[-1]
        low, below = (BOUNDS[place - 1], self.counts[place - 1]) if place else (0.0, 0)
        within = self.counts[place] - below
        return low + (BOUNDS[place] - low) * (wanted - below) / within if within else 0.0


@dataclass(frozen=True, slots=True)
class Distributions:
    """How long a pool's callers waited and used connections, and how long connects took, since it was created."""

    wait: Distribution = Distribution()
    """of callers for a connection; 0 for a checkout that found an idle one"""
    use: Distribution = Distribution()
    """from checkout to release"""
    connect: Distribution = Distribution()
    """of connects, the handshake included"""


class Histogram:
    """Counts durations of 0 seconds and more by their size. Not safe for threads: the owner holds its lock."""

    __slots__ = (
        "_buckets", "_latest", "_max", "_order", "_sorted", "_summary", "_summed", "_top", "_total", "gathered",
    )  # fmt: skip

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        self.gathered: list[float] = []  # stays the same list: the hot path appends to it by itself
        self._latest: list[float] = []  # the latest of those that are in buckets
        self._order: list[int] = []  # the buckets in ascending order, when they were last asked for
        self._summary, self._summed = Summary(), (0, 0)  # the last one, and of how many, without and with zeros
        self._sorted = 0  # how many are in buckets
        self._total = 0.0
        self._max = 0.0
        self._top = 0  # the highest bucket

    def add(self, seconds: float) -> None:
        """Count one duration."""
        gathered = self.gathered
        gathered.append(seconds)
        if len(gathered) >= GATHER:
            self.sort_in()

    def sort_in(self) -> None:
        """Sort what was gathered into buckets."""
        gathered = self.gathered[:]
        self.gathered.clear()
        if gathered:
            self.add_all(gathered)

    def add_all(self, durations: list[float]) -> int:
        """Count many durations, one at least, and return the highest bucket that one of them falls into."""
        packed = _packed(durations)
        if not packed[_SIGN::8].isascii():
            durations = [max(0.0, seconds) for seconds in durations]
            packed = _packed(durations)
        top = self._count(packed)
        self._latest = [*self._latest, *durations[-LATEST:]][-LATEST:]
        self._sorted += len(durations)
        self._total += sum(durations)
        if top >= self._top:
            self._max = max(self._max, max(durations))  # noqa: PLW3301  to unpack them would take twice as long
            self._top = top
        return top

    def _count(self, packed: bytes) -> int:
        """Count doubles by their upper sixteen bits, and return the highest bucket among them.

        It is by the lower eight of these bits where the others are all the same.
        """
        upper = packed[_SIGN::8]
        if upper.count(upper[0]) == len(upper):
            first, rests = upper[0] << 8, Counter(packed[_REST::8])
            for rest, count in rests.items():
                self._buckets[first | rest] += count
            return first | max(rests)
        found = Counter(array("H", packed)[_UPPER::4])
        self._buckets.update(found)
        return max(found)

    @property
    def latest(self) -> list[float]:
        """The latest durations in seconds, `LATEST` at most, the newest last."""
        newest = self.gathered[-LATEST:]
        return newest if len(newest) == LATEST else [*self._latest, *newest][-LATEST:]

    @property
    def count(self) -> int:
        """How many durations were counted."""
        return self._sorted + len(self.gathered)

    @property
    def total(self) -> float:
        """Their sum, in seconds."""
        self.sort_in()
        return self._total

    @property
    def mean(self) -> float:
        """Their mean, in seconds; 0 where there is none."""
        count = self.count
        return self.total / count if count else 0.0

    def merge(self, other: Histogram) -> None:
        """Count everything that `other` has counted, too."""
        self.sort_in()
        other.sort_in()
        self._buckets.update(other._buckets)
        self._sorted += other._sorted
        self._total += other._total
        self._max, self._top = max(self._max, other._max), max(self._top, other._top)

    def quantile(self, share: float, zeros: int = 0) -> float:
        """Return the duration that `share` (0 to 1) of all are at or below, `zeros` durations of 0 counted besides."""
        return self._quantiles((share,), zeros)[0]

    def _quantiles(self, shares: tuple[float, ...], zeros: int) -> list[float]:
        self.sort_in()
        if len(self._order) != len(self._buckets):  # none ever goes
            self._order = sorted(self._buckets)
        buckets = self._order
        # How many are in each bucket or below it; before the first stand the zeros.
        reached = list(accumulate(map(self._buckets.__getitem__, buckets), initial=zeros))
        count, top, found = reached[-1], self._max, []
        for share in shares:
            place = bisect_left(reached, share * count)
            found.append(min(_middle(buckets[place - 1]), top) if place else 0.0)
        return found

    def buckets(self) -> dict[int, int]:
        """Return how many are in each bucket, for `since`."""
        self.sort_in()
        return dict(self._buckets)

    def since(self, before: Mapping[int, int]) -> list[tuple[float, int]]:
        """Return the durations counted since `buckets` has returned `before`, by size, and how many there are of each.

        Each stands for those within 1/32 of it.
        """
        self.sort_in()
        more = ((bucket, members - before.get(bucket, 0)) for bucket, members in sorted(self._buckets.copy().items()))
        return [(min(_middle(bucket), self._max), members) for bucket, members in more if members]

    def distribution(self, zeros: int = 0) -> Distribution:
        """Return how many are at or below each of `BOUNDS`, with `zeros` durations of 0 counted besides."""
        self.sort_in()
        among = [0] * (len(BOUNDS) + 1)
        for bucket, members in self._buckets.items():
            among[bisect_left(BOUNDS, _middle(bucket))] += members
        among[0] += zeros
        return Distribution(tuple(accumulate(among)), self._total)

    def summary(self, zeros: int = 0) -> Summary:
        """Return count, mean, quantiles and largest, with `zeros` durations of 0 counted besides."""
        count = self.count + zeros
        if (self.count, count) != self._summed:  # connects are seldom, and who looks does so often
            p50, p90, p99, p999 = self._quantiles((0.5, 0.9, 0.99, 0.999), zeros)
            self._summary = Summary(count, self.total / count, p50, p90, p99, p999, self._max)
            self._summed = self.count, count
        return self._summary


def members(counts: Sequence[int]) -> list[tuple[int, int]]:
    """Return each index at which there is a count, with that; the wide ranges in which there is none cost little."""
    found: list[tuple[int, int]] = []
    left, begin, end = len(counts) - counts.count(0), 0, 64
    while len(found) < left:
        part = counts[begin:end]
        if part.count(0) < len(part):  # in C
            found += [(place, count) for place, count in enumerate(part, begin) if count]
        begin, end = end, 2 * end
    return found


def median(durations: Sequence[tuple[float, int]]) -> float:
    """Return the duration that half of all are at or below, given each in ascending order and how many of it; or 0."""
    left = sum(count for _, count in durations) / 2
    for seconds, count in durations:
        left -= count
        if left <= 0:
            return seconds
    return 0.0


def bucket_of(seconds: float) -> int:
    """Return the bucket that a duration of 0 seconds or more falls into: the larger it is, the higher."""
    return int.from_bytes(struct.pack(">d", seconds)[:2])


def _packed(durations: list[float]) -> bytes:
    return struct.pack(f"{len(durations)}d", *durations)


@cache
def _middle(bucket: int) -> float:
    low, high = (struct.unpack(">d", struct.pack(">Hxxxxxx", edge))[0] for edge in (bucket, bucket + 1))
    return float(low + high) / 2 if bucket else 0.0
