"""What servers reply to those who look at them, taken apart: CLIENT LIST and SLOWLOG GET.

Servers differ in what they tell: what one doesn't is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from .pipeline import Reply


def text(value: Reply) -> str:
    """Return a string of a reply, which may be any bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def whole(figure: str | None) -> int | None:
    """Return a whole number of a reply; `None` where it is missing, or is none that a server would count to."""
    return int(figure) if figure is not None and figure.isdecimal() and len(figure) < 20 else None


def listed_clients(reply: bytes | str) -> Iterator[dict[str, str]]:
    """Yield what CLIENT LIST says of each client, by the names that it has for that."""
    return (dict(_pairs(line)) for line in text(reply).split("\n") if line)


def _pairs(line: str) -> Iterator[tuple[str, str]]:
    for pair in line.split(" "):
        name, equals, value = pair.partition("=")
        if equals:
            yield name, value


class SlowEntry(NamedTuple):
    """An entry of the slow log, without the command's arguments: they are the user's own."""

    at: float
    """in seconds since 1970"""
    seconds: float
    command: str
    address: str
    """of the client; empty where the server doesn't tell, as before Redis 4"""
    name: str
    """of the client; likewise"""


def slow_entries(reply: Iterable[Reply]) -> Iterator[SlowEntry]:
    """Yield the entries of SLOWLOG GET."""
    for _, at, took, *more in reply:
        command, *client = (
            more if isinstance(more[0], list) else more[1:]
        )  # Redis Enterprise tells its complexity first
        name = text(command[0]) if command else ""
        yield SlowEntry(float(at), took / 1e6, name, *map(text, (*client, "", "")[:2]))
