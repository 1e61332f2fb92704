"""`redpool bench --peers`."""

import argparse
import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from ..place import FREE

ROUNDS = 3
SECONDS = 0.5

_OTHER_FILES = 256


def picture_path(text: str) -> Path:
    """Where to write a picture, from a command line."""
    from .picture import FORMATS

    path = Path(text)
    if path.suffix not in FORMATS:
        raise argparse.ArgumentTypeError(f"{text!r} ends in none of {', '.join(FORMATS)}")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r}: there is no directory {str(path.parent)!r}")
    if not os.access(path.parent, os.W_OK) or path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} can't be written")
    return path


def run(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Carry out `redpool bench --peers` and return its exit status."""
    from ..screen import write_json
    from . import screen
    from .cases import CASES, GROUPS, chosen

    known = {*CASES, *GROUPS}
    unknown = [name for name in arguments.cases if name not in known]
    if unknown:
        parser.error(f"no case {', '.join(unknown)}; there are: {', '.join((*GROUPS, *CASES))}")
    if arguments.list:
        if arguments.json:
            write_json(screen.list_as_dicts())
        else:
            screen.show_list()
        return 0
    if arguments.url:
        parser.error(f"--url {arguments.url}: --peers measures on a private server only")
    cases = chosen(arguments.cases)
    if FREE not in arguments.modes and not any(case.one_core for case in cases):
        both = ", ".join(case.name for case in CASES.values() if case.one_core)
        parser.error(f"--one-core: none of {', '.join(arguments.cases)} is measured so; these are: {both}")
    _refuse_picture(arguments, [case.name for case in cases], parser)
    return _measure(arguments, [case.name for case in cases])


def _refuse_picture(arguments: argparse.Namespace, names: Sequence[str], parser: argparse.ArgumentParser) -> None:
    # Before minutes of measuring, not after.
    from .picture import DRAWN

    if arguments.picture is None:
        return
    if find_spec("matplotlib") is None:
        parser.error(f"--picture {arguments.picture} needs matplotlib: pip install 'redpool[peers]'")
    if FREE not in arguments.modes or not set(DRAWN) & set(names):
        parser.error(f"--picture {arguments.picture} shows {', '.join(DRAWN)}, free: measure at least one of them")


def _measure(arguments: argparse.Namespace, names: Sequence[str]) -> int:
    from ..screen import progress, write_json
    from . import screen
    from .cases import chosen
    from .files import files
    from .ground import ground
    from .picture import draw
    from .runner import run as measured

    rounds, seconds = arguments.rounds or ROUNDS, arguments.seconds or SECONDS
    cases = chosen(names)
    # Through a relay a connection is two of them; the interpreter and matplotlib need some as well.
    enough = _OTHER_FILES + 2 * max(case.callers for case in cases)
    with files(enough), ground() as prepared, progress() as tell:
        report = measured(cases, arguments.modes, rounds, seconds, prepared, tell)
    if arguments.json:
        write_json(report.to_dict())
    else:
        screen.show(report)
    if arguments.picture:
        draw(report, arguments.picture)
    return 1 if arguments.check and not report.met else 0
