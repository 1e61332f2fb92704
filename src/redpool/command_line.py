"""What the commands of `redpool` have in common: what their arguments mean, and how they print.

Only `console` needs more than the standard library.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

_PLAIN_WIDTH = 118


def positive(text: str) -> float:
    """Return an argument as a number above 0. Raises `ArgumentTypeError` for others."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number above 0, not {text!r}")
    return value


def not_negative(text: str) -> float:
    """Return an argument as a number of 0 or more. Raises `ArgumentTypeError` for others."""
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be 0 or more, not {text}")
    return value


def whole(text: str) -> int:
    """Return an argument as a whole number of at least 1. Raises `ArgumentTypeError` for others."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of 1 or more, not {text!r}")
    return value


def new_file(text: str) -> Path:
    """Return an argument as the path of a file to write. Raises `ArgumentTypeError` where there can be none."""
    path = Path(text)
    if path.is_dir() or not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"no file can be written there: {text}")
    return path


def place_of_process(text: str) -> int | str:
    """Return an argument as what a process listens at: the path of its socket, or its process id."""
    return int(text) if text.isascii() and text.isdecimal() else text


def printable(text: str) -> str:
    """Return a text from outside as one line of characters that a terminal shows and doesn't obey: escapes for others.

    Controls of the direction of writing are among the others.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text)


def write_json(document: object) -> None:
    """Write one JSON document, and nothing else, to standard output."""
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def console() -> Console:
    """Return a console for standard output, of a fixed width and without color where that is no terminal."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH, highlight=False, markup=False)
