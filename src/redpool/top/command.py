"""`redpool top`. It imports what it needs only when it runs, so that `--help` needs none of it."""

from __future__ import annotations

import argparse
import math
import sys
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING

from redpool.command_line import write_json
from redpool.fleet import choice

if TYPE_CHECKING:
    from redpool.fleet.source import Source

_HISTORY = 75.0  # seconds of the past that are read at first: a trend, and the rates before it
_SHORTEST, _LONGEST = 0.1, 3600.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line of `redpool top`."""
    choice.add_arguments(parser)
    parser.add_argument("--service", metavar="NAME", help="only processes of this service")
    parser.add_argument(
        "--interval", type=_seconds, default=1.0, metavar="S", help="seconds from one look to the next (default: 1)"
    )
    parser.add_argument(
        "--once", action="store_true", help="look twice, print a table and end; so it is without a terminal"
    )
    parser.add_argument("--json", action="store_true", help="look twice and print one JSON document instead")
    parser.set_defaults(needs_rich=False)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not _SHORTEST <= value <= _LONGEST:
        raise argparse.ArgumentTypeError(f"must be {_SHORTEST:g} to {_LONGEST:g} seconds, not {text}")
    return value


def run(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Carry out `redpool top` and return its exit status: 2 where a single look found nothing to read."""
    where, source = _source(arguments, parser)
    # Python has no such file where it was closed.
    on_terminal = all(file is not None and file.isatty() for file in (sys.stdin, sys.stdout))
    on_screen = on_terminal and not (arguments.once or arguments.json)
    missing = (
        [] if arguments.json else [name for name in ("rich", *(["textual"] * on_screen)) if find_spec(name) is None]
    )
    if missing:
        sys.stderr.write(f"redpool: top needs {' and '.join(missing)}: pip install 'redpool[top]'\n")
        return 2
    if not on_screen:
        return _once(where, source, arguments)
    from .app import Top

    app = Top(where, source, arguments.interval)
    app.run()
    return app.return_code or 0


def _source(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> tuple[str, Source]:
    """Return what is looked at, in words without a password, and from where."""
    from .looks import OfService

    where, source = choice.source_of(arguments, parser, history=_HISTORY)
    return where, source if arguments.service is None else OfService(source, arguments.service)


def _once(where: str, source: Source, arguments: argparse.Namespace) -> int:
    from .past import Past
    from .shown import as_text

    past = Past()
    try:
        first = source.read()
        if first.error is None:
            past.note(first)
            time.sleep(arguments.interval)
        view = source.read() if first.error is None else first
    finally:
        source.close()
    if view.error is not None:
        sys.stderr.write(f"redpool: {as_text(where)}: {as_text(view.error)}\n")
        return 2
    past.note(view)
    if arguments.json:
        from .document import document

        write_json(document(view, past))
    else:
        from .headline import Look
        from .plain import print_view

        print_view(where, Look(view, None, time.monotonic()), past, arguments.interval)
    return 0
