"""`redpool run`: start a command in which redis-py's pools are redpool's, in the processes that it starts, too.

The command's environment has Python begin with `site/sitecustomize.py`. That file waits for redis-py to be imported, so
that nothing is imported earlier than without it.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from redpool.installation import settings

SITE = str(Path(__file__).parent / "site")
_NOT_FOUND, _CANT_RUN = 127, 126  # as shells say it


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line of `redpool run`."""
    parser.usage = "redpool run [--kind KIND] [--max-connections N] -- COMMAND [ARGUMENT ...]"
    parser.epilog = "Every option of a pool may stand in the environment: REDPOOL_KIND, REDPOOL_TIMEOUT, and so on."
    parser.add_argument("--kind", metavar="KIND", help="dedicated (default) or multiplexed")
    parser.add_argument(
        "--max-connections", metavar="N", help="of each pool whose maker says nothing else (default: 50)"
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND", help="what to run, with its arguments")
    parser.set_defaults(needs_rich=False)


def run(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Become the command. Return only where that fails: 127 where it isn't found, 126 where it can't be run."""
    command = arguments.command[arguments.command[:1] == ["--"] :]
    if not command:
        parser.error("which command?")
    asked = {"REDPOOL_KIND": arguments.kind, "REDPOOL_MAX_CONNECTIONS": arguments.max_connections}
    environment = {**os.environ, **{name: value for name, value in asked.items() if value is not None}}
    try:
        settings(None, {}, environment)
    except (TypeError, ValueError) as error:
        parser.error(str(error))
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (SITE, environment.get("PYTHONPATH"))))
    try:
        os.execvpe(command[0], command, environment)
    except OSError as error:
        sys.stderr.write(f"redpool: {command[0]}: {error.strerror}\n")
        return _NOT_FOUND if isinstance(error, FileNotFoundError) else _CANT_RUN
