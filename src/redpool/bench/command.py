"""`redpool bench`. It imports what it measures with only when it runs, so that `--help` needs none of it."""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import redis.connection

from redpool.command_line import positive, whole, write_json
from redpool.redispy.options import as_redis

from .place import FREE, ONE_CORE

_ROUNDS = 5
_SECONDS = 1.0
# Short rounds and many of them: what else goes on in the machine meets all sides alike.
_FLOOR_ROUNDS = 21
_FLOOR_SECONDS = 0.1

_parse_url: Any = redis.connection.parse_url


def server_url(text: str) -> str:
    """Return a server's URL, such as redis-py takes, from the command line. Raises `ArgumentTypeError` for others."""
    url = as_redis(text)
    try:
        _parse_url(url)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return url


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line of `redpool bench`."""
    what = add_measuring(parser, _ROUNDS, _SECONDS)
    what.add_argument(
        "--floor",
        action="store_true",
        help=f"measure the CPU time of GET against a bare socket's, {_FLOOR_ROUNDS} rounds of {_FLOOR_SECONDS:g} s",
    )
    # With `--floor` there are other ones.
    parser.set_defaults(rounds=None, seconds=None)
    parser.add_argument("--tasks", type=whole, metavar="N", help="with --floor: measure with N tasks, too")
    parser.add_argument(
        "--url", type=server_url, help="server to use (default: a private one); the bench writes its key redpool:bench"
    )


def add_measuring(parser: argparse.ArgumentParser, rounds: int, seconds: float) -> Any:
    """Describe the arguments of every bench: which cases, how often, how long, where, and in which form.

    Returns the group of options of which only one may be given.
    """
    parser.add_argument("cases", nargs="*", metavar="CASE", help="what to measure (default: everything; see --list)")
    parser.add_argument("--list", action="store_true", help="list the cases and their targets")
    parser.add_argument("--rounds", type=whole, default=rounds, help=f"times each side is measured (default: {rounds})")
    parser.add_argument(
        "--seconds", type=positive, default=seconds, help=f"length of one measurement (default: {seconds:g})"
    )
    mode = parser.add_mutually_exclusive_group()
    for option, modes, about in (
        ("--free", (FREE,), "measure only with placement left to the scheduler"),
        ("--one-core", (ONE_CORE,), "measure only with client and server pinned to one CPU"),
        ("--both", (FREE, ONE_CORE), "measure both ways (default)"),
    ):
        mode.add_argument(option, dest="modes", action="store_const", const=modes, help=about)
    parser.set_defaults(modes=(FREE, ONE_CORE))
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--check", action="store_true", help="exit with status 1 where a target is missed")
    return mode


def run(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Carry out `redpool bench` and return its exit status."""
    from . import screen
    from .cases import CASES

    if arguments.floor:
        return _run_floor(arguments, parser)
    if arguments.tasks:
        parser.error("--tasks: only with --floor")
    _check_names(arguments.cases, CASES, parser)
    if arguments.list:
        _list(arguments, screen.list_as_dicts(CASES.values()))
        return 0
    return _measure(arguments, arguments.cases or list(CASES))


def _run_floor(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from . import screen
    from .floor import ROWS

    for option in ("check", "url"):
        if getattr(arguments, option):
            parser.error(f"--{option}: not with --floor, which has no targets, and a server of its own")
    _check_names(arguments.cases, ROWS, parser)
    if arguments.list:
        _list(arguments, screen.list_as_dicts(ROWS.values()))
        return 0
    return _measure_floor(arguments, arguments.cases or list(ROWS))


def _check_names(names: Sequence[str], known: Mapping[str, object], parser: argparse.ArgumentParser) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        parser.error(f"unknown case: {', '.join(unknown)}; choose from: {', '.join(known)}")


def _list(arguments: argparse.Namespace, cases: Sequence[Mapping[str, str]]) -> None:
    from . import screen

    if arguments.json:
        write_json(cases)
    else:
        screen.show_list(cases)


def _measure(arguments: argparse.Namespace, names: Sequence[str]) -> int:
    from . import runner, screen
    from .cases import CASES
    from .setting import prepared, serving

    with (
        serving(arguments.url) as (url, server),
        prepared(url, arguments.seconds or _SECONDS) as setting,
        screen.progress() as tell,
    ):
        cases = [CASES[name] for name in dict.fromkeys(names)]
        pid = server.pid if server else None
        report = runner.run(cases, arguments.modes, arguments.rounds or _ROUNDS, setting, pid, tell)
    if arguments.json:
        write_json(report.to_dict())
    else:
        screen.show(report)
    return 1 if arguments.check and not report.met else 0


def _measure_floor(arguments: argparse.Namespace, names: Sequence[str]) -> int:
    from redpool import embedded

    from . import screen
    from .floor import ASYNCIO, ROWS, own_client_tasks
    from .floor import run as measured
    from .setting import prepared

    more = [own_client_tasks(ASYNCIO, arguments.tasks)] if arguments.tasks else []
    rows = {row.name: row for row in (*(ROWS[name] for name in names), *more)}

    with (
        embedded.start() as server,
        prepared(server.url, arguments.seconds or _FLOOR_SECONDS) as setting,
        screen.progress() as tell,
    ):
        report = measured(list(rows.values()), arguments.rounds or _FLOOR_ROUNDS, setting, server.pid, tell)
    if arguments.json:
        write_json(report.to_dict())
    else:
        screen.show_floor(report)
    return 0
