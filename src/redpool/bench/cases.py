"""The cases of the bench: the question, the pools that are measured, and the targets."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

from redpool.core.config import PoolConfig

from . import alone, cluster, crowd
from .contenders import (
    ASYNC_BLOCKING,
    ASYNC_OURS,
    ASYNC_PLAIN,
    BLOCKING,
    OURS,
    PLAIN,
    Contender,
)
from .load import Figures
from .memory import memory
from .place import ONE_CORE
from .setting import Setting

Measure = Callable[[Setting], Figures]
RATIO = "ratio"

_MAX_CONNECTING = PoolConfig().max_connecting


@dataclass(frozen=True)
class Target:
    """The bound that `figure` of the last side, or the ratio, has to meet; in one `mode` only where that is given."""

    figure: str
    at_least: float | None = None
    at_most: float | None = None
    mode: str | None = None

    def met(self, value: float) -> bool:
        """Return whether `value` is within the bound."""
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)

    def __str__(self) -> str:
        sign, limit = (">=", self.at_least) if self.at_most is None else ("<=", self.at_most)
        return f"{self.figure} {sign} {limit:g}"


@dataclass(frozen=True)
class Case:
    """One question: `sides` are measured in turn, and the last is compared with the first in the figure `main`.

    `ratio` computes the comparison (`None`: there is nothing to compare with). Where `place_matters` is false the case
    is measured once, and not again on one core.
    """

    name: str
    about: str
    main: str
    sides: Mapping[str, Measure]
    ratio: Callable[[float, float], float] | None
    targets: tuple[Target, ...]
    place_matters: bool = True


def faster(first: float, last: float) -> float:
    """Return how many times faster `last` is; both are durations."""
    return first / last if last else math.inf


def more(first: float, last: float) -> float:
    """Return how many times `first` the value `last` is; a round may be over before anything is answered."""
    return last / first if first else math.inf


def _versus(measure: Callable[[Contender, Setting], Figures], *contenders: Contender) -> dict[str, Measure]:
    return {contender.name: partial(measure, contender) for contender in contenders}


_FAIR = Target("most_to_fewest", at_most=1.3)
_FAULTLESS = Target("errors", at_most=0)


def _threads(callers: int, connections: int, at_least: float) -> Case:
    return Case(
        f"threads-{callers}-{connections}",
        f"{callers} threads GET over {connections} connections",
        "per_s",
        _versus(partial(crowd.threads, callers=callers, connections=connections), BLOCKING, OURS),
        more,
        (Target(RATIO, at_least=at_least), _FAIR, Target("worst_ms", at_most=50), _FAULTLESS),
    )


def _tasks(callers: int, connections: int, *targets: Target) -> Case:
    return Case(
        f"tasks-{callers}-{connections}",
        f"{callers} asyncio tasks GET over {connections} connections",
        "per_s",
        _versus(partial(crowd.tasks, callers=callers, connections=connections), ASYNC_BLOCKING, ASYNC_OURS),
        more,
        (*targets, _FAULTLESS),
    )


def _cluster(name: str, measure: Callable[..., Figures], clients: Mapping[str, Any], *targets: Target) -> Case:
    """Return a case of so many callers of a cluster as the end of its name says."""
    callers = int(name.rpartition("-")[2])
    kind = "threads" if measure is cluster.threads else "asyncio tasks"
    return Case(
        f"cluster-{name}",
        f"{callers} {kind} GET keys of three masters",
        "per_s",
        {client: partial(measure, open_client, callers=callers) for client, open_client in clients.items()},
        more,
        (*targets, _FAULTLESS),
        place_matters=False,
    )


# Where valkey-glide is installed.
_GLIDE = () if find_spec("glide") is None else (
    _cluster("glide-100", cluster.tasks, cluster.GLIDE, Target(RATIO, at_least=3)),
)  # fmt: skip

_ALL = (
    Case(
        "checkout",
        "check out a connection and release it, one thread",
        "us",
        _versus(alone.checkout, PLAIN, OURS),
        faster,
        (Target(RATIO, at_least=4),),
    ),
    Case(
        "checkout-async",
        "check out a connection and release it, one task",
        "us",
        _versus(alone.checkout_async, ASYNC_PLAIN, ASYNC_OURS),
        faster,
        (Target(RATIO, at_least=4),),
    ),
    Case(
        "get-1-thread",
        "GET of 30 bytes, one thread",
        "per_s",
        _versus(alone.get, PLAIN, OURS),
        more,
        (Target(RATIO, at_least=1.2, mode=ONE_CORE),),
    ),
    _threads(32, 4, 2.0),
    _threads(64, 8, 2.5),
    _tasks(100, 16),
    _tasks(100, 8, Target(RATIO, at_least=1.2), _FAIR),
    _tasks(200, 8, Target(RATIO, at_least=1.2), _FAIR),
    Case(
        "burst-100",
        "100 GETs at once on a cold asyncio pool",
        "done_ms",
        _versus(partial(crowd.burst, callers=100), ASYNC_BLOCKING, ASYNC_OURS),
        faster,
        (Target("connections", at_most=2 * _MAX_CONNECTING),),
    ),
    Case(
        "grant",
        "hand over a connection while 100, and while 10 000 tasks wait",
        "us",
        {f"{waiting} waiting": partial(crowd.grant, waiting=waiting) for waiting in (100, 10_000)},
        more,
        (Target(RATIO, at_most=1.5),),
    ),
    Case(
        "memory",
        "memory per idle connection beyond redis-py's Connection",
        "bytes_beyond",
        {OURS.name: memory},
        None,
        (Target("bytes_beyond", at_most=1024),),
        place_matters=False,
    ),
    _cluster("threads-16", cluster.threads, cluster.THREADS, Target(RATIO, at_least=3)),
    _cluster("threads-64", cluster.threads, cluster.THREADS, Target(RATIO, at_least=3)),
    _cluster("tasks-100", cluster.tasks, cluster.TASKS, Target(RATIO, at_least=8)),
    _cluster("tasks-500", cluster.tasks, cluster.TASKS),
    *_GLIDE,
)

CASES: dict[str, Case] = {case.name: case for case in _ALL}
