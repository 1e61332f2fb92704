"""`redpool simulate`: what would be if, with the pool's own decisions. What it works with is imported when it runs."""

from __future__ import annotations

import argparse
import itertools
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from redpool.command_line import new_file, not_negative, positive, whole, write_json

if TYPE_CHECKING:
    from redpool.core.record import Record

    from .picture import Chart
    from .servers import Server, Trouble
    from .simulator import Outcome
    from .workloads import Caller, Holds, Workload

_MILLISECOND = 1e-3
_BINS = 60
_USUAL_SIZE = 10
_SLOW = re.compile(r"(?:(?P<times>[\d.]+)x@)?(?P<start>[\d.]+)-(?P<end>[\d.]+)")
_BURST = re.compile(r"(?P<times>[\d.]+)x(?P<length>[\d.]+)/(?P<every>[\d.]+)")


@dataclass(frozen=True)
class Variant:
    """The options of one pool that is simulated, and what became of it."""

    options: dict[str, Any]
    outcome: Outcome
    by_class: dict[str, Outcome]
    """of the callers of each class, where there are classes"""

    @property
    def name(self) -> str:
        """What distinguishes it from the others."""
        return ", ".join(f"{name}={value}" for name, value in self.options.items())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line of `redpool simulate`."""
    load = parser.add_argument_group("workload: a record, or a description")
    load.add_argument("record", nargs="?", metavar="FILE", help="a record: `pool.record().to_json()`")
    load.add_argument("--load", type=positive, default=1.0, metavar="TIMES", help="of a record: times its callers (1)")
    load.add_argument("--rate", type=positive, default=1000.0, metavar="CALLERS", help="callers a second (1000)")
    load.add_argument(
        "--hold", type=positive, default=2.0, metavar="MS", help="mean time that each has a connection (2)"
    )
    load.add_argument("--cv", type=not_negative, default=1.0,
                      help="holds' standard deviation over mean; 0: all alike (1)")  # fmt: skip
    load.add_argument("--burst", type=_burst, metavar="TIMESxLENGTH/EVERY",
                      help="so many times the rate for LENGTH s, every EVERY s: 8x2/30")  # fmt: skip
    load.add_argument("--fan-out", type=whole, metavar="N", help="callers come in groups of N at once")
    load.add_argument("--class", type=_class, action="append", default=[], dest="classes",
                      metavar="NAME:rate=CALLERS,hold=MS,cv=CV,reserved=N",
                      help="a class of callers, in place of --rate; again for more")  # fmt: skip
    pool = parser.add_argument_group("pool: several values, such as 4,8,16, are compared")
    pool.add_argument("--size", type=_listed(_size), metavar="N",
                      help="max_connections, or auto (the record's own, else 10)")  # fmt: skip
    pool.add_argument("--limits", type=_pair, default=(2, 50), metavar="LOW,HIGH", help="of auto (2,50)")
    pool.add_argument("--timeout", type=_listed(_or_none(float)), default=[5.0], metavar="S", help="of the wait (5)")
    pool.add_argument("--max-waiting", type=_listed(_or_none(int)), default=[None], metavar="N", help="queue (none)")
    pool.add_argument("--shed", type=_listed(_or_none(str)), default=[None], metavar="codel", help="shedding (none)")
    pool.add_argument("--cold", action="store_true", help="begin with no connection (default: all are open)")
    server = parser.add_argument_group("server and callers")
    server.add_argument("--one-by-one", action="store_true",
                        help="the server executes one call at a time: --hold is what it takes for each")  # fmt: skip
    server.add_argument("--round-trip", type=positive, default=1.0, metavar="MS", help="with --one-by-one (1)")
    server.add_argument("--slow", type=_trouble, action="append", default=[], metavar="TIMESx@FROM-TO",
                        help="so many times slower for a while: 4x@10-15; again for more")  # fmt: skip
    server.add_argument("--dead", type=_trouble, action="append", default=[], metavar="FROM-TO",
                        help="stands still for a while: 20-20.5; again for more")  # fmt: skip
    server.add_argument("--deadline", type=positive, metavar="MS", help="callers give up after so long in all")
    server.add_argument("--retries", type=_count, default=0, metavar="N", help="and come again so often (0)")
    parser.add_argument("--seconds", type=positive, default=60.0, help="length of the run (60)")
    parser.add_argument("--seed", type=int, default=1, help="of all chance (1)")
    parser.add_argument("--svg", type=new_file, metavar="FILE", help="draw it")
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Carry out `redpool simulate` and return its exit status."""
    from . import screen

    try:
        _check_none_is_idle(arguments, parser)
        load = _callers(arguments)
        with screen.progress() as tell:
            variants = []
            for options in _options(arguments):
                tell(f"{options}", 0.0)
                variants.append(_variant(options, load.callers(), load.seconds, arguments))
    except OSError as error:
        parser.error(f"{arguments.record}: {error.strerror}")
    except (TypeError, ValueError) as error:
        parser.error(str(error))
    if arguments.svg:
        from .picture import svg

        arguments.svg.write_text(svg(charts(variants)), encoding="utf-8")
    if arguments.json:
        write_json([_document(variant) for variant in variants])
        return 0
    screen.show_line(load.described)
    rows = [row for variant in variants for row in _rows(variant)]
    headings = [name.replace("_", "\n") for name in figures(variants[0].outcome)]
    columns = map(_shown, zip(*(values for _, values in rows), strict=True))
    names = [name for name, _ in rows]
    screen.show_rows(["", *headings], list(zip(names, *columns, strict=True)))
    for chart in charts(variants):
        screen.show_lines(chart)
    return 0


def figures(outcome: Outcome) -> dict[str, float | None]:
    """Return what is shown of an outcome; times are in milliseconds."""
    return {
        "replies_a_second": outcome.served / outcome.seconds,
        "wait_p50_ms": _finite(outcome.wait(0.5) / _MILLISECOND),
        "wait_p99_ms": _finite(outcome.wait(0.99) / _MILLISECOND),
        "reply_p99_ms": _finite(outcome.reply(0.99) / _MILLISECOND),
        "timeouts": outcome.timeouts,
        "rejected": outcome.rejected,
        "lost": outcome.lost,
        "connects": outcome.connects,
        "most_open": outcome.peak,
        "idle_seconds": outcome.idle_seconds,
    }


def _rows(variant: Variant) -> list[tuple[str, list[float | None]]]:
    """Return the rows of a pool, each with its name: of all its callers, then of each class."""
    rows = {variant.name: figures(variant.outcome)}
    rows |= {f"  {name}": _of_callers(outcome) for name, outcome in variant.by_class.items()}
    return [(name, list(row.values())) for name, row in rows.items()]


def _document(variant: Variant) -> dict[str, Any]:
    classes = {name: _of_callers(outcome) for name, outcome in variant.by_class.items()}
    return {**variant.options, **figures(variant.outcome), **({"classes": classes} if classes else {})}


def _of_callers(outcome: Outcome) -> dict[str, float | None]:
    """Return the figures of one class; those of connections are the pool's."""
    connections = ("connects", "most_open", "idle_seconds")
    return {name: None if name in connections else value for name, value in figures(outcome).items()}


def charts(variants: Sequence[Variant]) -> list[Chart]:
    """Return the pictures of a comparison: replies and longest waits over time."""
    from .picture import Chart

    replies = {each.name: _rate(each.outcome) for each in variants}
    waits = {each.name: _longest(each.outcome) for each in variants}
    return [
        Chart("Replies", "seconds", "a second", replies),
        Chart("Longest wait", "seconds", "ms", waits),
    ]


def _rate(outcome: Outcome) -> list[tuple[float, float]]:
    width = outcome.seconds / _BINS
    bins = [0.0] * _BINS
    for at in outcome.replied_at:
        bins[min(_BINS - 1, int(at / width))] += 1 / width
    return [(place * width, value) for place, value in enumerate(bins)]


def _longest(outcome: Outcome) -> list[tuple[float, float]]:
    width = outcome.seconds / _BINS
    bins = [0.0] * _BINS
    for at, wait in zip(outcome.waited_at, outcome.waits, strict=True):
        place = min(_BINS - 1, int(at / width))
        bins[place] = max(bins[place], wait / _MILLISECOND)
    return [(place * width, value) for place, value in enumerate(bins)]


# -- what is simulated -------------------------------------------------------------------------------------------------


class _Load(NamedTuple):
    """The callers that all pools meet."""

    described: str
    callers: Callable[[], list[Caller]]
    """makes them anew for each run"""
    seconds: float
    """for so many they come"""


def _callers(arguments: argparse.Namespace) -> _Load:
    """Return the load; without `--size`, the pool is as large as the record's."""
    from . import workloads

    if arguments.record:
        return _of_record(arguments)
    arguments.size = arguments.size or [_USUAL_SIZE]
    holds = _holds(arguments.hold, arguments.cv)
    workload = workloads.poisson(arguments.rate, holds)
    described = f"{arguments.rate:g} callers/s, holds {_described(arguments.hold, arguments.cv)}"
    if arguments.classes:
        workload = workloads.both(*(_of_class(each, arguments) for each in arguments.classes))
        described = "; ".join(_class_described(each, arguments) for each in arguments.classes)
    if arguments.burst:
        times, length, every = arguments.burst
        workload = workloads.bursts(arguments.rate, holds, times=times, length=length, every=every)
        described += f", {times:g} times as many for {length:g} s every {every:g} s"
    elif arguments.fan_out:
        workload = workloads.fan_out(arguments.rate / arguments.fan_out, holds, size=arguments.fan_out)
        described += f", in groups of {arguments.fan_out}"
    return _Load(
        f"{described}, {arguments.seconds:g} s, seed {arguments.seed}",
        lambda: workload(Random(f"load {arguments.seed}"), arguments.seconds), arguments.seconds,
    )  # fmt: skip


def _of_record(arguments: argparse.Namespace) -> _Load:
    from .advice import came
    from .replay import replayed

    record = _record(arguments.record)
    if came(record) <= 0:
        raise ValueError(f"{arguments.record}: no caller of {record.name} took a connection of its own")
    arguments.size = arguments.size or [record.max_connections]
    found, seconds = replayed(record, arguments.seed, arguments.load)
    times = "" if arguments.load == 1 else f", {arguments.load:g} times those of the record"
    described = f"{record.name}: {len(found) / seconds:.0f} callers/s{times}, {seconds:.3g} s, seed {arguments.seed}"
    return _Load(described, lambda: found, seconds)


def _class_described(described: _Class, arguments: argparse.Namespace) -> str:
    hold = arguments.hold if described.hold is None else described.hold
    cv = arguments.cv if described.cv is None else described.cv
    return f"{described.name}: {described.rate:g} callers/s, holds {_described(hold, cv)}"


def _described(hold: float, cv: float) -> str:
    return f"{hold:g} ms " + ("fixed" if cv == 0 else "exponential" if cv == 1 else f"lognormal (cv {cv:g})")


def _record(path: str) -> Record:
    """Return the record in a file. Raises `ValueError` where there are several of pools that callers used."""
    from . import capture

    records = capture.read(Path(path).read_text(encoding="utf-8"))
    used = [record for record in records if record.arrivals] or records
    if len(used) != 1:
        raise ValueError(f"{path}: one record can be simulated, not {len(used)}: {[each.name for each in used]}")
    return used[0]


def _check_none_is_idle(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Raise `ValueError` where an option was said that would change nothing, or two of which one would."""

    def said(*names: str) -> list[str]:
        return [name for name in names if getattr(arguments, name) != parser.get_default(name)]

    if said("classes") and said("record", "rate", "burst", "fan_out"):
        raise ValueError("--class: without a record, --rate, --burst and --fan-out")
    names = [each.name for each in arguments.classes]
    if len(set(names)) < len(names):
        raise ValueError(f"--class: each has a name of its own, not {', '.join(names)}")
    if len(said("burst", "fan_out")) == 2:
        raise ValueError("--burst and --fan-out: one of them")
    if arguments.record and (idle := said("rate", "hold", "cv", "burst", "fan_out", "seconds")):
        raise ValueError(
            f"--{idle[0].replace('_', '-')}: a record has its callers; leave this out, or {arguments.record}"
        )
    if arguments.load != 1 and not arguments.record:
        raise ValueError("--load: of a record; to describe more callers, say a higher --rate")
    if said("limits") and "auto" not in (arguments.size or []):
        raise ValueError("--limits: with --size auto")
    if said("round_trip") and not arguments.one_by_one:
        raise ValueError("--round-trip: with --one-by-one")


def _of_class(described: _Class, arguments: argparse.Namespace) -> Workload:
    from . import workloads

    hold = arguments.hold if described.hold is None else described.hold
    holds = _holds(hold, arguments.cv if described.cv is None else described.cv)
    return workloads.of_class(described.name, workloads.poisson(described.rate, holds))


def _holds(milliseconds: float, cv: float) -> Holds:
    from . import workloads

    mean = milliseconds * _MILLISECOND
    if cv in (0, 1):
        return workloads.exponential(mean) if cv else workloads.fixed(mean)
    return workloads.lognormal(mean, cv)


def _options(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the options in which the pools differ; of one pool its size."""
    named = {
        "max_connections": arguments.size,
        "timeout": arguments.timeout,
        "max_waiting": arguments.max_waiting,
        "shed": arguments.shed,
    }
    shown = {name: values for name, values in named.items() if len(values) > 1}
    shown = shown or {"max_connections": arguments.size}
    return [dict(zip(shown, values, strict=True)) for values in itertools.product(*shown.values())]


def _variant(options: dict[str, Any], callers: list[Caller], seconds: float, arguments: argparse.Namespace) -> Variant:
    from redpool.core.config import PoolConfig

    from .classes import ClassedSimulator
    from .simulator import Manner, Simulator

    same = {
        "max_connections": arguments.size[0],
        "timeout": arguments.timeout[0],
        "max_waiting": arguments.max_waiting[0],
        "shed": arguments.shed[0],
        "reserved": {each.name: each.reserved for each in arguments.classes if each.reserved} or None,
    }
    said = {**same, **options, "ping_after_idle": None}
    if said["max_connections"] == "auto":
        said["limits"] = arguments.limits
    config = PoolConfig.take(said)
    manner = Manner(
        deadline=math.inf if arguments.deadline is None else arguments.deadline * _MILLISECOND,
        retries=arguments.retries,
    )
    server = _server(arguments)
    more: dict[str, Any] = {"seed": arguments.seed, "manner": manner, "warm": not arguments.cold, "keep_replies": True}
    if not arguments.classes:
        return Variant(options, Simulator(config, server, **more).run(callers, seconds), {})
    classed = ClassedSimulator(config, server, **more)
    outcome = classed.run(callers, seconds)
    return Variant(options, outcome, {each.name: classed.by_class[each.name] for each in arguments.classes})


def _server(arguments: argparse.Namespace) -> Server:
    from .servers import OneByOne, Parallel

    troubles: list[Trouble] = [*arguments.slow, *arguments.dead]
    return OneByOne(arguments.round_trip * _MILLISECOND, troubles) if arguments.one_by_one else Parallel(troubles)


# -- arguments ---------------------------------------------------------------------------------------------------------


def _listed(read: Callable[[str], Any]) -> Callable[[str], list[Any]]:
    def values(text: str) -> list[Any]:
        try:
            return [read(part) for part in text.split(",")]
        except ValueError:
            raise argparse.ArgumentTypeError(f"say a number, or several such as 4,8,16, not {text!r}") from None

    return values


def _or_none(read: Callable[[str], Any]) -> Callable[[str], Any]:
    return lambda text: None if text.lower() == "none" else read(text)


def _size(text: str) -> int | str:
    return text if text == "auto" else whole(text)


def _pair(text: str) -> tuple[int, int]:
    parts = text.split(",")
    if len(parts) != 2:
        raise argparse.ArgumentTypeError(f"say 2,50, not {text!r}")
    return whole(parts[0]), whole(parts[1])


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must be 0 or more, not {text}")
    return value


class _Class(NamedTuple):
    """A class of callers, as it is described."""

    name: str
    rate: float
    hold: float | None = None
    cv: float | None = None
    reserved: int | None = None


def _class(text: str) -> _Class:
    name, _, rest = text.partition(":")
    readers: dict[str, Callable[[str], Any]]
    readers = {"rate": positive, "hold": positive, "cv": not_negative, "reserved": whole}
    try:
        said = dict(part.split("=") for part in rest.split(","))
        return _Class(name, **{what: readers[what](value) for what, value in said.items()})
    except (argparse.ArgumentTypeError, KeyError, TypeError, ValueError):
        example = "interactive:rate=200,hold=2,cv=1,reserved=4"
        raise argparse.ArgumentTypeError(f"say {example} (all but the rate may be left out), not {text!r}") from None


def _trouble(text: str) -> Trouble:
    from .servers import Trouble, in_order

    found = _SLOW.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"say 4x@10-15 or 20-20.5, not {text!r}")
    times = math.inf if found["times"] is None else float(found["times"])
    try:
        return in_order([Trouble(float(found["start"]), float(found["end"]), times)])[0]
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _burst(text: str) -> tuple[float, float, float]:
    found = _BURST.fullmatch(text)
    if found is None or float(found["length"]) >= float(found["every"]):
        raise argparse.ArgumentTypeError(f"say 8x2/30 (times x seconds / every seconds), not {text!r}")
    return float(found["times"]), float(found["length"]), float(found["every"])


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _shown(values: Sequence[float | None]) -> list[str]:
    """Return one column as text: all with as many digits after the point as the largest of them needs."""
    known = [value for value in values if value is not None]
    largest = max(known, default=0)
    digits = 0 if all(type(value) is int for value in known) or largest >= 1000 else 1 if largest >= 100 else 2
    return ["-" if value is None else f"{value:.{digits}f}" for value in values]
