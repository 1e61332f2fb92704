"""The table of an in-memory server's commands: functions of a session and the arguments, by name."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .resp import CommandError

if TYPE_CHECKING:
    from .session import Session

Function = Callable[["Session", list[bytes]], Any]


@dataclass(frozen=True)
class Command:
    """A command and how many arguments it takes."""

    name: str
    function: Function
    least: int
    most: float

    def check_arguments(self, args: list[bytes]) -> None:
        """As Redis says it."""
        if not self.least <= len(args) <= self.most:
            raise CommandError(f"ERR wrong number of arguments for '{self.name.lower()}' command")


COMMANDS: dict[str, Command] = {}


def command(name: str, least: int = 0, most: float | None = None) -> Callable[[Function], Function]:
    """Put a function in the table; it takes `least` arguments exactly, or up to `most`."""

    def enter(function: Function) -> Function:
        COMMANDS[name] = Command(name, function, least, least if most is None else most)
        return function

    return enter


ANY_NUMBER = math.inf


def integer(text: bytes) -> int:
    """An argument that must be a whole number."""
    try:
        return int(text)
    except ValueError:
        raise CommandError("ERR value is not an integer or out of range") from None
