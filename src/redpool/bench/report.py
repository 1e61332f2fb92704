"""The results of a run of the bench."""

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version

import redpool

from .load import Figures


@dataclass(frozen=True)
class Verdict:
    """A target, the measured `value`, and whether that meets the target."""

    target: str
    value: float
    met: bool


@dataclass(frozen=True)
class Result:
    """A case in one mode: each side's medians, the ratio of the last to the first, the single rounds."""

    case: str
    about: str
    mode: str
    main: str
    sides: Mapping[str, Figures]
    ratio: float | None
    verdicts: tuple[Verdict, ...]
    rounds: Mapping[str, Sequence[Figures]]

    @property
    def met(self) -> bool:
        """Whether no target was missed."""
        return all(verdict.met for verdict in self.verdicts)


@dataclass(frozen=True)
class Report:
    """A whole run. `to_dict` returns plain values, ready for JSON."""

    server: str
    rounds: int
    seconds: float
    results: tuple[Result, ...]
    notes: tuple[str, ...]
    environment: Mapping[str, str | int] = field(default_factory=lambda: environment())

    @property
    def met(self) -> bool:
        """Whether no target was missed."""
        return all(result.met for result in self.results)

    def to_dict(self) -> dict[str, object]:
        """Return the report as dictionaries, lists, strings and numbers."""
        return asdict(self)


@dataclass(frozen=True)
class Share:
    """A row of the comparison with the floor: the CPU time of the floor's call and of ours, and their ratio.

    `parts` add up to ours. `server_us` is what the server used for one of our calls.
    """

    row: str
    about: str
    mode: str
    floor_us: float
    ours_us: float
    share: float
    parts: Figures
    server_us: float
    rounds: Mapping[str, Sequence[Figures]]


@dataclass(frozen=True)
class FloorReport:
    """A whole comparison with the floor. `to_dict` returns plain values, ready for JSON."""

    server: str
    rounds: int
    seconds: float
    rows: tuple[Share, ...]
    notes: tuple[str, ...]
    environment: Mapping[str, str | int] = field(default_factory=lambda: environment())

    def to_dict(self) -> dict[str, object]:
        """Return the report as dictionaries, lists, strings and numbers."""
        return asdict(self)


def environment() -> dict[str, str | int]:
    """Return the versions, machine and date of this run."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "redpool": redpool.__version__,
        "redis-py": version("redis"),
        "hiredis": version("hiredis"),
        "cpus": os.cpu_count() or 0,
        "system": f"{platform.system()} {platform.machine()}",
    }
