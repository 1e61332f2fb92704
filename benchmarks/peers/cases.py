"""The cases of the comparison, and redpool's targets in them."""

from collections.abc import Sequence
from dataclasses import dataclass

from redpool.bench.place import FREE, ONE_CORE

from .contenders import BARE, BLOCKING, CLIENT, GLIDE, PLAIN, SHARED
from .peer import TASKS, THREADS

SHORT = 30
"""Bytes of the value where a case doesn't set another size."""

REDIS_PYS = (PLAIN, BLOCKING)
"""The pools that all peers are compared with: the faster of the two."""

PER_S = "per_s"
P99 = "p99_ms"


@dataclass(frozen=True)
class Target:
    """A bound on the `figure` of `peer`, divided by that of the fastest of `against`, in `mode`."""

    peer: str
    against: tuple[str, ...]
    at_least: float | None = None
    at_most: float | None = None
    figure: str = PER_S
    mode: str = FREE

    def met(self, ratio: float) -> bool:
        """Return whether `ratio` is within the bound."""
        return (self.at_least is None or ratio >= self.at_least) and (self.at_most is None or ratio <= self.at_most)

    def __str__(self) -> str:
        sign, limit = (">=", self.at_least) if self.at_most is None else ("<=", self.at_most)
        against = "redis-py" if self.against == REDIS_PYS else " or ".join(self.against)
        return f"{self.figure} of {self.peer} / {against} {sign} {limit:g}"


@dataclass(frozen=True)
class Case:
    """`callers` threads or tasks that GET in a loop, `pipeline` commands at a time.

    `round_trip` is simulated, in seconds. A case of which `one_core` is true is measured in both modes.
    """

    name: str
    group: str
    kind: str
    callers: int
    pipeline: int = 1
    value_bytes: int = SHORT
    round_trip: float = 0.0
    one_core: bool = False
    targets: tuple[Target, ...] = ()

    @property
    def about(self) -> str:
        """The case in words."""
        noun = self.kind if self.callers > 1 else self.kind.removesuffix("s")
        what = f"pipelines of {self.pipeline} GETs" if self.pipeline > 1 else "GET"
        distance = f", round trip {1e3 * self.round_trip:g} ms" if self.round_trip else ""
        return f"{self.callers} {noun}: {what}, values of {size(self.value_bytes)}{distance}"


def size(count: int) -> str:
    """Return a number of bytes with its unit."""
    return f"{count // 1024} KiB" if count >= 1024 else f"{count} B"


def _beats(peer: str, at_least: float, *, by: Sequence[str] = REDIS_PYS, mode: str = FREE) -> Target:
    return Target(peer, tuple(by), at_least=at_least, mode=mode)


def _threads(callers: int, *targets: Target, one_core: bool = False) -> Case:
    return Case(f"threads-{callers}", "threads", THREADS, callers, one_core=one_core, targets=targets)


def _tasks(callers: int, *targets: Target, one_core: bool = False) -> Case:
    return Case(f"tasks-{callers}", "tasks", TASKS, callers, one_core=one_core, targets=targets)


def _pipeline(kind: str, length: int, *targets: Target) -> Case:
    return Case(f"pipeline-{kind}-{length}", "pipelines", kind, 1, pipeline=length, targets=targets)


def _value(kind: str, callers: int, value_bytes: int) -> Case:
    name = f"value-{kind}-{size(value_bytes).replace(' ', '')}"
    return Case(name, "values", kind, callers, value_bytes=value_bytes)


def _distant(kind: str, callers: int, milliseconds: int, *targets: Target) -> Case:
    name = f"round-trip-{kind}-{milliseconds}ms"
    return Case(name, "round-trip", kind, callers, round_trip=milliseconds / 1e3, targets=targets)


_MANY_THREADS = (_beats(SHARED, 2.5), _beats(CLIENT, 4), _beats(CLIENT, 1.7, by=[GLIDE]))

_ALL = (
    _tasks(1, _beats(CLIENT, 3, mode=ONE_CORE), _beats(SHARED, 2.2, mode=ONE_CORE), one_core=True),
    _tasks(10),
    _tasks(100, _beats(SHARED, 5), _beats(CLIENT, 10), _beats(CLIENT, 4, by=[GLIDE]), one_core=True),
    _tasks(1000, _beats(CLIENT, 25, by=[PLAIN])),
    _threads(
        1,
        _beats(CLIENT, 2, mode=ONE_CORE),
        _beats(SHARED, 1.5, mode=ONE_CORE),
        _beats(CLIENT, 0.6, by=[BARE], mode=ONE_CORE),
        one_core=True,
    ),
    _threads(4),
    _threads(16, *_MANY_THREADS, _beats(CLIENT, 2.8, mode=ONE_CORE), one_core=True),
    _threads(64, *_MANY_THREADS, Target(CLIENT, REDIS_PYS, at_most=0.2, figure=P99)),
    _pipeline(THREADS, 10),
    _pipeline(THREADS, 100, _beats(CLIENT, 2.5)),
    _pipeline(THREADS, 1000, _beats(CLIENT, 2.5)),
    _pipeline(TASKS, 10),
    _pipeline(TASKS, 100, _beats(CLIENT, 4)),
    _pipeline(TASKS, 1000, _beats(CLIENT, 4)),
    *(_value(kind, callers, 1024 * k) for k in (1, 64) for kind, callers in ((THREADS, 16), (TASKS, 100))),
    _distant(THREADS, 64, 1),
    _distant(THREADS, 64, 4, _beats(SHARED, 3, by=[BLOCKING]), _beats(CLIENT, 3, by=[BLOCKING])),
    _distant(TASKS, 100, 1),
    _distant(TASKS, 100, 4),
)

CASES: dict[str, Case] = {case.name: case for case in _ALL}
GROUPS: tuple[str, ...] = tuple(dict.fromkeys(case.group for case in _ALL))


def chosen(names: Sequence[str]) -> list[Case]:
    """Return the cases with these names or in these groups, in their usual order; without names all of them."""
    return [case for case in _ALL if not names or case.name in names or case.group in names]
