"""The results of a comparison."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version

from redpool.bench.load import Figures
from redpool.bench.report import Verdict, environment

INSTALL = "pip install -r benchmarks/peers/requirements.txt"
NOT_INSTALLED = f"not installed: {INSTALL}"

_PACKAGES = ("coredis", "valkey-glide", "valkey-glide-sync")


@dataclass(frozen=True)
class Row:
    """A peer in a case: its medians, and its ratio to the faster of redis-py's pools; or why there are none."""

    peer: str
    family: str
    figures: Figures
    ratio: float | None
    absent: str
    failed: bool
    rounds: Sequence[Figures]


@dataclass(frozen=True)
class Result:
    """A case in one mode."""

    case: str
    group: str
    about: str
    mode: str
    rows: tuple[Row, ...]
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True)
class Report:
    """A whole run. `to_dict` returns plain values, ready for JSON."""

    server: str
    rounds: int
    seconds: float
    results: tuple[Result, ...]
    notes: tuple[str, ...]
    environment: Mapping[str, str | int] = field(default_factory=lambda: {**environment(), **_peers()})

    @property
    def met(self) -> bool:
        """Whether no target was missed and no peer failed."""
        targets = all(verdict.met for result in self.results for verdict in result.verdicts)
        return targets and not any(row.failed for result in self.results for row in result.rows)

    def to_dict(self) -> dict[str, object]:
        """Return the report as dictionaries, lists, strings and numbers."""
        return asdict(self)


def _peers() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
