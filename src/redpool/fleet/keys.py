"""The keys of a fleet in Redis, and what a process writes to them. All are in one slot of a cluster.

`redpool:fleet:{NAME}:process:KEY` is the last report of a process, and expires after three periods.
`redpool:fleet:{NAME}:index` has the keys of all processes, by the time at which they last said that they are there.
`redpool:fleet:{NAME}:history` is a stream: what the processes were like at moments of the past.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .encoding import encode, encode_samples
from .link import Command
from .model import ProcessReport

DEFAULT = "redpool"
"""The name of a fleet that was given none."""

PERIODS = 3
"""After so many periods without a report a process is taken for gone."""
HISTORY_EVERY = 5
"""Of so many reports one is noted in the history."""
HISTORY_LENGTH = 3_000
"""About so many entries the history has at most."""
_KEPT = 3600  # seconds for which the index and the history outlast the last process

_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,100}")


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one fleet."""

    base: str

    @classmethod
    def of(cls, fleet: str) -> Keys:
        """Return the keys of a fleet of this name. Raises `ValueError` for a name that keys can't have."""
        if not isinstance(fleet, str) or not _NAME.fullmatch(fleet):
            raise ValueError(f"fleet={fleet!r}: must be 1 to 100 letters, digits, or any of _ . : -")
        return cls(f"redpool:fleet:{{{fleet}}}:")

    @property
    def index(self) -> str:
        """The key of the index."""
        return f"{self.base}index"

    @property
    def history(self) -> str:
        """The key of the history."""
        return f"{self.base}history"

    def process(self, key: str) -> str:
        """Return the key of a process's report."""
        return f"{self.base}process:{key}"


def reporting(keys: Keys, report: ProcessReport, noted: bool) -> list[Command]:
    """Return the commands by which a process reports; with `noted` also that it is there, and to the history."""
    commands: list[Command] = [
        ("SET", keys.process(report.key), encode(report), "PX", max(1, round(1000 * PERIODS * report.period)))
    ]
    if noted:
        commands += [
            ("ZADD", keys.index, round(report.at), report.key),
            ("ZREMRANGEBYSCORE", keys.index, "-inf", round(report.at) - _KEPT),
            ("EXPIRE", keys.index, _KEPT),
            ("XADD", keys.history, "MAXLEN", "~", HISTORY_LENGTH, "*", "r", encode_samples(report)),
            ("EXPIRE", keys.history, _KEPT),
        ]
    return commands


def leaving(keys: Keys, key: str) -> list[Command]:
    """Return the commands by which a process that ends takes its report away."""
    return [("DEL", keys.process(key)), ("ZREM", keys.index, key)]
