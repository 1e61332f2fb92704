"""`redpool bench`. Imports what it measures with only when it runs, so that `--help` needs none of it."""

import argparse
import math
from collections.abc import Sequence
from typing import Any

import redis.connection

from .peers.command import picture_path
from .place import FREE, ONE_CORE

_ROUNDS = 5
_SECONDS = 1.0

_parse_url: Any = redis.connection.parse_url


def positive(text: str) -> float:
    """A number of seconds above zero, from a command line."""
    value = float(text)
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"must be above 0, not {text}")
    return value


def server_url(text: str) -> str:
    """A server's URL, from a command line."""
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
    parser.add_argument("cases", nargs="*", metavar="CASE", help="what to measure (default: everything; see --list)")
    parser.add_argument("--list", action="store_true", help="list the cases and their targets")
    parser.add_argument("--peers", action="store_true", help="measure other clients for Redis, too, and the limit")
    parser.add_argument("--rounds", type=_count, help="times each side is measured (default: 5; with --peers 3)")
    parser.add_argument("--seconds", type=positive, help="length of one measurement (default: 1; with --peers 0.5)")
    parser.add_argument(
        "--url", type=server_url, help="server to use (default: a private one; it gets a key redpool:bench)"
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument(
        "--free",
        dest="modes",
        action="store_const",
        const=(FREE,),
        help="leave placement to the scheduler only",
    )
    mode.add_argument(
        "--one-core",
        dest="modes",
        action="store_const",
        const=(ONE_CORE,),
        help="pin client and server to one CPU only",
    )
    mode.add_argument(
        "--both",
        dest="modes",
        action="store_const",
        const=(FREE, ONE_CORE),
        help="measure both ways (default)",
    )
    parser.set_defaults(modes=(FREE, ONE_CORE))
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument(
        "--picture", type=picture_path, metavar="FILE", help="with --peers: write a picture, .svg or .png"
    )
    parser.add_argument("--check", action="store_true", help="exit with status 1 where a target is missed")


def run(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Carry out `redpool bench` and return its exit status."""
    if arguments.peers:
        from .peers import command as peers

        return peers.run(arguments, parser)
    if arguments.picture:
        parser.error(f"--picture {arguments.picture}: only with --peers")
    return _against_redispy(arguments, parser)


def _against_redispy(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from . import screen
    from .cases import CASES

    unknown = [name for name in arguments.cases if name not in CASES]
    if unknown:
        parser.error(f"no case {', '.join(unknown)}; there are: {', '.join(CASES)}")
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

    rounds, seconds = arguments.rounds or _ROUNDS, arguments.seconds or _SECONDS
    with (
        serving(arguments.url) as (url, server),
        prepared(url, seconds) as setting,
        screen.progress() as tell,
    ):
        cases = [CASES[name] for name in dict.fromkeys(names)]
        pid = server.pid if server else None
        report = runner.run(cases, arguments.modes, rounds, setting, pid, tell)
    if arguments.json:
        screen.write_json(report.to_dict())
    else:
        screen.show(report)
    return 1 if arguments.check and not report.met else 0
