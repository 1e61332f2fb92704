"""`redpool tune`: how large the pools of a program should be. What it works with is imported when it runs."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from redpool.command_line import new_file, not_negative, place_of_process, positive, printable, whole, write_json

from . import formulas

if TYPE_CHECKING:
    import redis

    from redpool.core.record import Record

    from .advice import Advice
    from .picture import Chart

_MOST_SECONDS = 60
_MILLISECOND = 1e-3
_LOOK = 1.0
"""seconds for which the server of a process that runs is looked at"""


class _Server(NamedTuple):
    """What a server says of itself: how many clients it takes, and what each kind of commands took: usec and calls."""

    limit: int | None = None
    commands: Mapping[str, tuple[int, int]] = {}

    def since(self, before: Mapping[str, tuple[int, int]]) -> list[tuple[float, int]]:
        """Return what commands took since then: seconds for each, and how many there were."""
        usual = []
        for name, (usec, calls) in self.commands.items():
            usec_before, calls_before = before.get(name, (0, 0))
            if calls > calls_before and usec >= usec_before:
                usual.append(((usec - usec_before) / (calls - calls_before) / 1e6, calls - calls_before))
        return usual


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line of `redpool tune`."""
    parser.usage = (
        "redpool tune [OPTION ...] FILE ...\n"
        "       redpool tune --process PID|PATH [OPTION ...]\n"
        "       redpool tune --record SECONDS [OPTION ...] [URL] -- COMMAND [ARGUMENT ...]\n"
        "       redpool tune --rate CALLERS --hold MS [OPTION ...]"
    )
    parser.add_argument(
        "words", nargs="*", metavar="FILE",
        help="records (`pool.record().to_json()`) or counters (`pool.stats().to_dict()` as JSON); with --record, the "
        "server's URL, if its limit counts, and the program to run",
    )  # fmt: skip
    parser.add_argument("--record", type=_seconds, metavar="SECONDS", help="run a program for so long (at most 60)")
    parser.add_argument(
        "--process", action="append", default=[], metavar="PID|PATH",
        help="a process that runs, which has called redpool.fleet.listen(); again for more",
    )  # fmt: skip
    parser.add_argument("--target", type=positive, metavar="MS", help="p99 wait (default: median hold, at least 2 ms)")
    parser.add_argument("--load", type=positive, default=1.0, metavar="TIMES", help="so many times the callers (1)")
    parser.add_argument("--processes", type=whole, metavar="N", help="processes that share the server (default: seen)")
    parser.add_argument("--url", metavar="URL", help="the server: how many clients it takes, what its commands take")
    parser.add_argument("--rate", type=positive, metavar="CALLERS", help="of counters: callers a second")
    parser.add_argument("--hold", type=positive, metavar="MS", help="of counters: mean time that each has a connection")
    parser.add_argument(
        "--cv", type=not_negative, default=1.0, help="of counters: holds' standard deviation over mean (1)"
    )
    parser.add_argument("--dispersion", type=positive, help="of counters: how callers bunch; 1: not at all (4)")
    parser.add_argument("--save", type=new_file, metavar="FILE", help="write the records, to ask again")
    parser.add_argument("--svg", type=new_file, metavar="FILE", help="draw the curves")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(after_dashes=[])


def run(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Carry out `redpool tune` and return its exit status: 1 where a target can't be met."""
    from . import screen

    words = [*arguments.words, *arguments.after_dashes]
    url = arguments.url or (words.pop(0) if arguments.record and words and "://" in words[0] else None)
    server = _asked(url, parser)  # before a minute is spent on a record
    began: Mapping[str, tuple[int, int]] = {}
    by_process: list[list[Record]] = []
    counters: list[Mapping[str, Any]] = []
    if arguments.rate or arguments.hold:
        if not (arguments.rate and arguments.hold) or words or arguments.process or arguments.record:
            parser.error("--rate and --hold: both of them, and no file, --process or --record")
    elif arguments.process:
        if arguments.record or words:
            parser.error("--process: without --record, and no file")
        by_process = [_attached(each, parser) for each in arguments.process]
        time.sleep(_LOOK if url else 0.0)  # what commands take now, and not what they took since the server was started
        began, server = server.commands, _asked_again(server, url, parser)
    elif arguments.record:
        by_process = _recorded(words, arguments, parser)
        began, server = server.commands, _asked_again(server, url, parser)
    elif words:
        by_process, counters = _read(words, parser)
    else:
        parser.error("of which pool? Give a record, --process PID, --record SECONDS -- COMMAND, or --rate and --hold")
    if arguments.save:
        documents = [json.loads(record.to_json()) for records in by_process for record in records]
        arguments.save.write_text(json.dumps(documents), encoding="utf-8")
    ceiling = _ceiling(server.limit, arguments.processes or max(1, len(by_process)))
    said = _from_records(by_process, arguments, ceiling, server.since(began), parser)
    said += [(each, 1) for each in _from_counters(counters, arguments, ceiling, parser)]
    if arguments.svg:
        from .picture import svg

        arguments.svg.write_text(svg([chart for advice, _ in said for chart in charts(advice)]), encoding="utf-8")
    if arguments.json:
        write_json([{**advice.to_dict(), "processes": processes} for advice, processes in said])
    else:
        for advice, processes in said:
            screen.show_advice(advice, processes)
    return 0 if all(advice.met for advice, _ in said) else 1


def charts(advice: Advice) -> list[Chart]:
    """Return the pictures of an advice: the wait and the idle connections, by the size."""
    from .picture import Chart

    waits = [(float(each.size), each.wait_p99 / _MILLISECOND) for each in advice.curve]
    idle = [(float(each.size), each.idle_seconds) for each in advice.curve]
    return [
        Chart(f"{advice.name}: {advice.size} connections", "max_connections", "p99 wait, ms", {"p99 wait": waits},
              ("target", advice.target / _MILLISECOND)),
        Chart(f"{advice.name}: what they cost", "max_connections", "idle connection-seconds", {"idle": idle}),
    ]  # fmt: skip


# -- where the figures come from ---------------------------------------------------------------------------------------


def _recorded(command: list[str], arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> list[list[Record]]:
    from . import capture, screen

    seconds = arguments.record
    if not command:
        parser.error("which program? redpool tune --record 60 redis://localhost -- python app.py")
    with screen.progress(seconds) as tell:
        try:
            captured = capture.run(
                command, seconds, lambda passed: tell(f"{' '.join(command)} runs", passed), silent=arguments.json
            )
        except OSError as error:
            parser.error(f"{command[0]}: {error.strerror}")
    if not captured.records:
        ended = "" if captured.status is None else f" (it ended with status {captured.status})"
        parser.error(
            f"no pool of redpool's was used{ended}. Where the program makes redis-py's pools: "
            f"redpool tune --record {seconds:g} -- redpool run -- {' '.join(command)}"
        )
    return captured.records


def _attached(process: str, parser: argparse.ArgumentParser) -> list[Record]:
    """Return the records of a process that runs. Their names are shown, and come from outside."""
    from redpool.fleet import ReportError, ask_records

    try:
        records = ask_records(place_of_process(process))
    except (OSError, ReportError) as error:
        parser.error(f"--process {process}: {error}")
    if not records:
        parser.error(f"--process {process}: it has no pool of redpool's")
    return [replace(record, name=printable(record.name)) for record in records]


def _read(words: Iterable[str], parser: argparse.ArgumentParser) -> tuple[list[list[Record]], list[Mapping[str, Any]]]:
    from . import capture

    records: list[list[Record]] = []
    counters: list[Mapping[str, Any]] = []
    for word in words:
        try:
            text = sys.stdin.read() if word == "-" else Path(word).read_text(encoding="utf-8")
            if (document := _counters(text)) is not None:
                counters.append(document)
            else:
                records.append(capture.read(text))
        except OSError as error:
            where = "; a server's URL goes before -- COMMAND, or after --url" if "://" in word else ""
            parser.error(f"{word}: {error.strerror}{where}")
        except ValueError as error:
            parser.error(f"{word}: {error}")
    return records, counters


def _counters(text: str) -> Mapping[str, Any] | None:
    """Return a pool's stats; `None` where the text is something else."""
    with suppress(ValueError):
        document = json.loads(text)
        if isinstance(document, dict) and "acquired" in document:
            return document
    return None


def _asked(url: str | None, parser: argparse.ArgumentParser) -> _Server:
    """Return what the server at this URL says of itself, as far as it does; of none nothing is known."""
    if url is None:
        return _Server()
    import redis

    from redpool.fleet.link import target_of_url
    from redpool.redispy.options import readable

    try:
        client = redis.Redis.from_url(readable(url))
    except ValueError as error:
        parser.error(f"the server's URL: {error}")
    try:
        with client:
            limit, stats = _limit(client), _commands(client)
    except redis.RedisError as error:
        raise type(error)(f"{target_of_url(url).shown}: {error}") from error
    return _Server(int(limit) or None, {name: (each["usec"], each["calls"]) for name, each in stats.items()})


def _limit(client: redis.Redis) -> Any:
    import redis

    try:
        return client.config_get("maxclients")["maxclients"]
    except (redis.ResponseError, KeyError):
        return client.info("clients").get("maxclients", 0)


def _commands(client: redis.Redis) -> Mapping[str, Any]:
    import redis

    try:
        return client.info("commandstats")
    except redis.ResponseError:
        return {}


def _asked_again(server: _Server, url: str | None, parser: argparse.ArgumentParser) -> _Server:
    """Return what the server says later on, without its commands where it is gone."""
    import redis

    try:
        return _asked(url, parser)
    except redis.RedisError:
        return server._replace(commands={})


def _ceiling(limit: int | None, processes: int) -> int | None:
    """Return how many connections a server that takes so many clients leaves to each of so many processes."""
    return formulas.for_each(limit, processes) if limit else None


# -- what is said ------------------------------------------------------------------------------------------------------


def _from_records(
    by_process: list[list[Record]], arguments: argparse.Namespace, ceiling: int | None,
    commands: Sequence[tuple[float, int]], parser: argparse.ArgumentParser,
) -> list[tuple[Advice, int]]:  # fmt: skip
    from . import screen
    from .advice import advise, came

    by_name: dict[str, list[Record]] = {}
    for record in (record for records in by_process for record in records if came(record) > 0):
        by_name.setdefault(record.name, []).append(record)
    if by_process and not by_name:
        parser.error("no caller took a connection of its own while it was recorded" + _shared(by_process))
    said = []
    with screen.progress() as tell:
        for name, records in by_name.items():
            busiest = max(records, key=came)
            try:
                advice = advise(
                    busiest, target=_scaled(arguments.target), ceiling=ceiling, load=arguments.load,
                    commands=commands, tell=_teller(tell, name),
                )  # fmt: skip
            except ValueError as error:
                parser.error(str(error))
            said.append((advice, len(records)))
    return said


def _shared(by_process: list[list[Record]]) -> str:
    commands = sum(record.commands for records in by_process for record in records)
    return f": {commands} commands went over shared connections, of which one is enough" if commands else ""


def _from_counters(
    counters: list[Mapping[str, Any]], arguments: argparse.Namespace, ceiling: int | None,
    parser: argparse.ArgumentParser,
) -> list[Advice]:  # fmt: skip
    from .counters import advise_from_counters

    loads: list[tuple[str, int, float, float, float | None]] = []
    if arguments.rate:
        loads.append(("counters", 0, arguments.rate, arguments.hold * _MILLISECOND, None))
    for stats in counters:
        try:
            loads.append(_load(stats))
        except (KeyError, TypeError, ZeroDivisionError) as error:
            parser.error(f"not a pool's counters: {type(error).__name__}: {error}")
    try:
        return [
            advise_from_counters(
                name, now, rate * arguments.load, hold, median_hold=median, variation=arguments.cv**2, ceiling=ceiling,
                dispersion=arguments.dispersion, target=_scaled(arguments.target),
            )
            for name, now, rate, hold, median in loads
        ]  # fmt: skip
    except ValueError as error:
        parser.error(str(error))


def _load(stats: Mapping[str, Any]) -> tuple[str, int, float, float, float | None]:
    """Return name, size, rate, mean and median hold from a pool's stats; its age follows from its utilization."""
    use = stats["use"]
    age = use["count"] * use["mean"] / (stats["utilization"] * stats["max_connections"])
    return stats["name"], stats["max_connections"], stats["acquired"] / age, use["mean"], use["p50"]


def _teller(tell: Callable[[str, float], None], name: str) -> Callable[[str], None]:
    return lambda what: tell(f"{name}: {what}", 0.0)


def _scaled(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds * _MILLISECOND


def _seconds(text: str) -> float:
    value = positive(text)
    if value > _MOST_SECONDS:
        raise argparse.ArgumentTypeError(f"a record has {_MOST_SECONDS} s at most, not {text}")
    return value
