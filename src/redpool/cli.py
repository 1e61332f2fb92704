"""The command line: `redpool COMMAND`. Argument parsing only; each command is a module.

A command's module has `add_arguments(parser)`, which needs the standard library only, and `run(arguments, parser)`,
which returns the exit status: 0 fine, 1 a check failed, 2 bad usage. Where a program may follow its options after `--`,
`after_dashes` has a default.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec

import redis

import redpool
from redpool.embedded import ServerFailed, ServerNotFound

COMMANDS = (
    (
        "demo",
        "redpool.demo.command",
        "show redpool beside redis-py's pools: speed, then a server that hangs and crashes",
    ),
    ("bench", "redpool.bench.command", "measure redpool's pools against redis-py's, in turn, on this machine"),
    ("dashboard", "redpool.dashboard.command", "show all processes' pools, and the server's clients, in a browser"),
    ("doctor", "redpool.doctor.command", "say what will go wrong with a server, its clients, your pools and your code"),
    (
        "tune",
        "redpool.tuning.command",
        "say how large a program's pools should be, from a record of what they were asked",
    ),
    ("simulate", "redpool.tuning.what_if", "say what would be if: other sizes, more load, a slow server"),
    ("run", "redpool.startup.command", "run a command that uses redpool's pools wherever it would make redis-py's"),
    ("top", "redpool.top.command", "show the pools of all processes, live: who waits, and who holds what it waits for"),
)

_BAD_USAGE = 2
_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that `argv` (default: the process's arguments) names and return the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    arguments, rest = _parser().parse_known_args(words)
    program = words[words.index("--") + 1 :] if "--" in words else []
    # Where options stand between other words and the dashes, the program is left over, with the dashes or without.
    if rest and rest in (program, ["--", *program]) and "after_dashes" in arguments:
        arguments.after_dashes = program
    elif rest:
        arguments.parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return carry_out(arguments)


def carry_out(arguments: argparse.Namespace) -> int:
    """Call `arguments.run(arguments, arguments.parser)` and return its exit status: 2 if it fails, 130 on Ctrl-C."""
    if getattr(arguments, "needs_rich", True) and find_spec("rich") is None:
        sys.stderr.write("redpool: the command line needs further packages: pip install 'redpool[cli]'\n")
        return _BAD_USAGE
    try:
        status: int = arguments.run(arguments, arguments.parser)
    except KeyboardInterrupt:
        sys.stderr.write("redpool: stopped\n")
        return _INTERRUPTED
    except (redis.RedisError, ServerFailed, ServerNotFound) as error:
        sys.stderr.write(f"redpool: {error}\n")
        return _BAD_USAGE
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="redpool", description="A connection pool for Redis and Valkey.")
    parser.add_argument("--version", action="version", version=f"redpool {redpool.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, module_name, about in COMMANDS:
        module = import_module(module_name)
        command = commands.add_parser(name, help=about, description=about)
        module.add_arguments(command)
        command.set_defaults(run=module.run, parser=command)
    return parser
