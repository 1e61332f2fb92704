"""`redpool bench`. It imports what it measures with only when it runs, so that `--help` needs none of it."""

import argparse
import math
from collections.abc import Sequence
from typing import Any

import redis.connection

from .place import FREE, ONE_CORE

_parse_url: Any = redis.connection.parse_url


def positive(text: str) -> float:
    """Return a command line argument as a number of seconds above 0. Raises `ArgumentTypeError` for others."""
    value = float(text)
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"must be above 0, not {text}")
    return value


def server_url(text: str) -> str:
    """Return a command line argument that is a server's URL. Raises `ArgumentTypeError` for others."""
    try:
        _parse_url(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {text}")
    return value


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line of `redpool bench`."""
    add_measuring(parser, rounds=5, seconds=1.0)
    parser.add_argument(
        "--url", type=server_url, help="server to use (default: a private one); the bench writes its key redpool:bench"
    )


def add_measuring(parser: argparse.ArgumentParser, rounds: int, seconds: float) -> None:
    """Describe the arguments of every bench: which cases, how often, how long, where, and in which form."""
    parser.add_argument("cases", nargs="*", metavar="CASE", help="what to measure (default: everything; see --list)")
    parser.add_argument("--list", action="store_true", help="list the cases and their targets")
    parser.add_argument(
        "--rounds", type=_count, default=rounds, help=f"times each side is measured (default: {rounds})"
    )
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


def run(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Carry out `redpool bench` and return its exit status."""
    from . import screen
    from .cases import CASES

    unknown = [name for name in arguments.cases if name not in CASES]
    if unknown:
        parser.error(f"unknown case: {', '.join(unknown)}; choose from: {', '.join(CASES)}")
    if arguments.list:
        if arguments.json:
            screen.write_json(screen.list_as_dicts())
        else:
            screen.show_list()
        return 0
    return _measure(arguments, arguments.cases or list(CASES))


def _measure(arguments: argparse.Namespace, names: Sequence[str]) -> int:
    from . import runner, screen
    from .cases import CASES
    from .setting import prepared, serving

    with (
        serving(arguments.url) as (url, server),
        prepared(url, arguments.seconds) as setting,
        screen.progress() as tell,
    ):
        cases = [CASES[name] for name in dict.fromkeys(names)]
        pid = server.pid if server else None
        report = runner.run(cases, arguments.modes, arguments.rounds, setting, pid, tell)
    if arguments.json:
        screen.write_json(report.to_dict())
    else:
        screen.show(report)
    return 1 if arguments.check and not report.met else 0
