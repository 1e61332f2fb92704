"""What the commands that show a fleet have in common: which Redis they look at, or which process."""

from __future__ import annotations

import argparse
from typing import Any

from ..command_line import place_of_process
from .link import target_of_url
from .reader import Reader
from .source import Source
from .unix import SocketSource

_URL = "redis://localhost:6379"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments that say what to look at."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "url", nargs="?", metavar="URL", help=f"the Redis that the processes report to (default: {_URL}); "
        "where none reports, its clients are shown",
    )  # fmt: skip
    what.add_argument(
        "--process", metavar="PID|PATH", help="one process that called redpool.fleet.listen(), without a Redis"
    )
    parser.add_argument("--fleet", metavar="NAME", help="the fleet's name, where redpool.publish() was given one")


def source_of(arguments: argparse.Namespace, parser: argparse.ArgumentParser, **options: Any) -> tuple[str, Source]:
    """Return what is looked at, in words without a password, and from where; `options` are those of a `Reader`.

    What makes no sense is an error of the parser's.
    """
    if arguments.process is not None:
        if arguments.fleet is not None:
            parser.error("argument --fleet: a process that is asked itself is of no fleet")
        place = place_of_process(arguments.process)
        return f"process {place}" if isinstance(place, int) else place, SocketSource(place)
    url = arguments.url or _URL
    if arguments.fleet is not None:
        options["fleet"] = arguments.fleet
    try:
        return target_of_url(url).shown, Reader(url, **options)
    except ValueError as error:
        parser.error(str(error).replace("url=:", "argument URL:", 1))
