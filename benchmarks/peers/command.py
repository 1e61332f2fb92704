"""`python -m benchmarks.peers`, in the project's directory: `make compare`."""

import argparse
import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from redpool.bench.command import add_measuring
from redpool.bench.place import FREE
from redpool.bench.screen import progress
from redpool.cli import carry_out
from redpool.command_line import write_json

from . import screen
from .cases import CASES, GROUPS, chosen
from .files import files
from .ground import ground
from .picture import DRAWN, FORMATS, draw
from .report import INSTALL
from .runner import run as measured

_ROUNDS = 3
_SECONDS = 0.5

_OTHER_FILES = 256


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what `argv` (default: the process's arguments) asks for, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description="Compare redpool with other clients for Redis and the limit."
    )
    add_measuring(parser, _ROUNDS, _SECONDS)
    parser.add_argument("--picture", type=picture_path, metavar="FILE", help="write a picture, .svg or .png")
    parser.set_defaults(run=run, parser=parser)
    return carry_out(parser.parse_args(argv))


def picture_path(text: str) -> Path:
    """Return a command line argument as the path of a picture to write. Raises `ArgumentTypeError` for others."""
    path = Path(text)
    if path.suffix not in FORMATS:
        raise argparse.ArgumentTypeError(f"{text!r}: must end in one of {', '.join(FORMATS)}")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r}: no directory {str(path.parent)!r}")
    if not os.access(path.parent, os.W_OK) or path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r}: can't be written")
    return path


def run(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Carry out the comparison, and return its exit status."""
    from redpool.command_line import write_json

    from . import screen
    from .cases import chosen

    known = {*CASES, *GROUPS}
    unknown = [name for name in arguments.cases if name not in known]
    if unknown:
        parser.error(f"unknown case: {', '.join(unknown)}; choose from: {', '.join((*GROUPS, *CASES))}")
    if arguments.list:
        if arguments.json:
            write_json(screen.list_as_dicts())
        else:
            screen.show_list()
        return 0
    cases = chosen(arguments.cases)
    if FREE not in arguments.modes and not any(case.one_core for case in cases):
        both = ", ".join(case.name for case in CASES.values() if case.one_core)
        parser.error(f"--one-core: not for {', '.join(arguments.cases)}; choose from: {both}")
    _check_picture(arguments, [case.name for case in cases], parser)
    return _measure(arguments, [case.name for case in cases])


def _check_picture(arguments: argparse.Namespace, names: Sequence[str], parser: argparse.ArgumentParser) -> None:
    # Before the measurements, which take minutes.
    if arguments.picture is None:
        return
    if find_spec("matplotlib") is None:
        parser.error(f"--picture {arguments.picture} needs matplotlib: {INSTALL}")
    if FREE not in arguments.modes or not set(DRAWN) & set(names):
        parser.error(f"--picture {arguments.picture} shows {', '.join(DRAWN)}, free: measure at least one of them")


def _measure(arguments: argparse.Namespace, names: Sequence[str]) -> int:
    cases = chosen(names)
    # Through a relay a connection needs two files; the interpreter and matplotlib need some as well.
    enough = _OTHER_FILES + 2 * max(case.callers for case in cases)
    with files(enough), ground() as prepared, progress() as tell:
        report = measured(cases, arguments.modes, arguments.rounds, arguments.seconds, prepared, tell)
    if arguments.json:
        write_json(report.to_dict())
    else:
        screen.show(report)
    if arguments.picture:
        draw(report, arguments.picture)
    return 1 if arguments.check and not report.met else 0
