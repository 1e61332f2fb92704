"""Every option of a pool, checked at the door."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeAlias

from .shares import Budgeted

Order = Literal["lifo", "fifo", "random"]
Shed = Literal["codel"]
RetrySent = Literal["safe", "all", "none"]
MaxConnections: TypeAlias = int | Literal["auto"] | None
"""what users may say; a pool that sizes itself begins at its lower limit"""

Options: TypeAlias = dict[str, Any]
"""what users say, by the options' names; checked here"""

DEFAULT_MAX_CONNECTIONS = 50
DEFAULT_LIMITS = (2, 50)
# A machine has no more ports than that to reach one address from; redis-py's own default once was 2**31.
MOST_CONNECTIONS = 65_535
# A user may have named a pool after its URL.
_CREDENTIALS = re.compile(r"(?<=//).*@", re.DOTALL)
MOST_SECONDS = 1e9  # thirty years; what waits longer than that waits for ever, and says so with None


@dataclass(frozen=True, slots=True)
class PoolConfig:
    """The options of a pool. All times are in seconds.

    Raises `ValueError` or `TypeError` with the option's name and the value where an option makes no sense.
    """

    max_connections: int = DEFAULT_MAX_CONNECTIONS
    timeout: float | None = 5.0
    max_waiting: int | None = None
    shed: Shed | None = None
    reserved: Mapping[str, int] | None = None
    limits: tuple[int, int] | None = None
    budget: Budgeted | None = None
    min_idle: int = 0
    max_idle_time: float | None = 300.0
    max_lifetime: float | None = 3600.0
    lifetime_jitter: float = 0.1
    max_connecting: int = 4
    break_after: int | None = None
    validate_after_idle: float = 0.0
    ping_after_idle: float | None = 30.0
    order: Order = "lifo"
    leak_after: float | None = None
    retry_sent: RetrySent = "safe"
    name: str = "redis"
    service: str = "python"
    warn_wait: float | None = None
    instruments: tuple[object, ...] = ()

    def __post_init__(self) -> None:
        if type(self.max_connections) is not int or self.max_connections < 1:
            raise ValueError(f'"max_connections" must be a positive integer, not {self.max_connections!r}')
        _seconds("timeout", self.timeout)
        if self.max_waiting is not None:
            whole_number("max_waiting", self.max_waiting, at_least=0)
        if self.shed is not None:
            _one_of("shed", self.shed, ("codel",))
        if self.limits is not None:
            _check_limits(self.limits, self.min_idle)
        if self.budget is not None and not isinstance(self.budget, Budgeted):
            raise TypeError(f"budget must be a redpool.Budget, not {self.budget!r}")
        if self.reserved is not None:
            _check_reserved(self.reserved, self.least, self.max_connections)
        whole_number("min_idle", self.min_idle, at_least=0)
        if self.min_idle > self.max_connections:
            raise ValueError(f"min_idle={self.min_idle!r} is more than max_connections={self.max_connections!r}")
        _seconds("max_idle_time", self.max_idle_time)
        _seconds("max_lifetime", self.max_lifetime, positive=True)
        _share("lifetime_jitter", self.lifetime_jitter)
        whole_number("max_connecting", self.max_connecting, at_least=1)
        if self.break_after is not None:
            whole_number("break_after", self.break_after, at_least=1)
        _seconds("validate_after_idle", self.validate_after_idle, may_be_none=False)
        _seconds("ping_after_idle", self.ping_after_idle)
        _one_of("order", self.order, ("lifo", "fifo", "random"))
        _seconds("leak_after", self.leak_after, positive=True)
        _one_of("retry_sent", self.retry_sent, ("safe", "all", "none"))
        if not isinstance(self.name, str):
            raise TypeError(f"name must be a string, not {self.name!r}")
        if not isinstance(self.service, str):
            raise TypeError(f"service must be a string, not {self.service!r}")
        if not self.service:
            raise ValueError("service must be a name, not ''")
        _seconds("warn_wait", self.warn_wait, positive=True)

    @property
    def least(self) -> str:
        """What the user calls `max_connections`: of a pool that sizes itself it is the lower limit."""
        return "max_connections" if self.limits is None else "limits[0]"

    @property
    def bounded(self) -> bool:
        """Whether there is a bound to the callers that wait, or to how long."""
        return self.max_waiting is not None or self.shed is not None

    @property
    def sizes_itself(self) -> bool:
        """Whether the pool finds out by itself how many connections it needs."""
        return self.limits is not None

    @classmethod
    def take(cls, options: Options) -> PoolConfig:
        """Return a config from the options in `options` that belong to a pool; they are removed from it.

        `max_connections` and `name` take their defaults where they are `None`, as in redis-py. No more connections are
        allowed than there can be. Where `name` or `service` is a URL, its credentials are left out.
        """
        known = {field.name: field for field in fields(cls)}
        chosen = {name: options.pop(name) for name in list(options) if name in known}
        if chosen.get("max_connections", 0) is None:
            del chosen["max_connections"]
        if chosen.get("max_connections") == "auto":
            asked = chosen.get("limits")
            limits = chosen["limits"] = _pair(DEFAULT_LIMITS if asked is None else asked)
            chosen["max_connections"] = limits[0]
        elif chosen.get("limits") is not None:
            raise ValueError(f'limits={chosen["limits"]!r} goes with max_connections="auto" only')
        if chosen.get("name", "") is None:
            del chosen["name"]
        for name in chosen.keys() & {"name", "service"}:
            if isinstance(chosen[name], str):
                chosen[name] = without_credentials(chosen[name])
        if isinstance(chosen.get("max_connections"), int):
            chosen["max_connections"] = min(chosen["max_connections"], MOST_CONNECTIONS)
        for name in chosen.keys() & {"instruments", "shareable_commands"}:
            chosen[name] = _several(name, chosen[name])
        return cls(**chosen)

    @classmethod
    def names(cls) -> frozenset[str]:
        """Return the names of all options."""
        return frozenset(field.name for field in fields(cls))

    @classmethod
    def from_strings(cls, options: Mapping[str, object]) -> Options:
        """Return the options as a URL spells them, with each of ours turned from text into its type."""
        readers = {field.name: _READERS.get(str(field.type)) for field in fields(cls)}
        return {name: _read(name, value, readers.get(name)) for name, value in options.items()}


@dataclass(frozen=True, slots=True)
class MultiplexedConfig(PoolConfig):
    """The options of a pool whose connections are shared."""

    shared_connections: int = 1
    max_in_flight: int = 4096
    shareable_commands: tuple[str, ...] = ()
    slow_after: float | None = None

    def __post_init__(self) -> None:
        PoolConfig.__post_init__(self)
        if not isinstance(self.shareable_commands, tuple) or not all(
            isinstance(name, str) for name in self.shareable_commands
        ):
            raise TypeError(
                f"shareable_commands must be a sequence of names of commands, not {self.shareable_commands!r}"
            )
        _seconds("slow_after", self.slow_after, positive=True)
        whole_number("shared_connections", self.shared_connections, at_least=1)
        whole_number("max_in_flight", self.max_in_flight, at_least=1)
        if self.shared_connections > self.max_connections:
            raise ValueError(
                f"shared_connections={self.shared_connections!r} is more than {self.least}={self.max_connections!r}"
            )


def without_credentials(name: str) -> str:
    """Return a name without what stands before the host where it is a URL."""
    return _CREDENTIALS.sub("", name)


def suggest(unknown: str, known: Iterable[str]) -> str:
    """`; did you mean 'max_idle_time'?` where an option is close to a known one, or another pool's; else nothing."""
    ours = [field.name for field in fields(MultiplexedConfig)]
    if unknown in ours:
        return "; only a MultiplexedConnectionPool has it"
    names = [*known, *ours]
    # A word of two or three letters is close to anything.
    close = difflib.get_close_matches(unknown, names, n=1) if len(unknown) > 3 else []
    return f"; did you mean {close[0]!r}?" if close else ""


def refuse_to_resize(config: PoolConfig, max_connections: int) -> None:
    """Raise `ValueError` for a pool that sizes itself."""
    if config.limits is not None:
        raise ValueError(f'max_connections={max_connections!r}: with max_connections="auto" the pool sizes itself')


def whole_number(name: str, value: object, *, at_least: int) -> int:
    """`value` where it is a whole number of at least `at_least`; else an error with `name` and the value."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number, not {value!r}")
    if value < at_least:
        raise ValueError(f"{name} must be at least {at_least}, not {value!r}")
    return value


def _pair(limits: object) -> tuple[int, int]:
    if not isinstance(limits, Iterable) or isinstance(limits, str) or len(pair := tuple(limits)) != 2:
        raise TypeError(f"limits must be two whole numbers, the least and the most connections, not {limits!r}")
    low = whole_number("limits[0]", pair[0], at_least=1)
    high = whole_number("limits[1]", pair[1], at_least=low)
    return low, min(high, MOST_CONNECTIONS)


def _check_limits(limits: tuple[int, int], min_idle: int) -> None:
    if min_idle > limits[0]:
        raise ValueError(f"min_idle={min_idle!r} is more than limits[0]={limits[0]!r}, to which the pool may shrink")


def _check_reserved(reserved: object, least: str, max_connections: int) -> None:
    if not isinstance(reserved, Mapping) or not all(isinstance(name, str) and name for name in reserved):
        raise TypeError(f"reserved must be a dict of numbers of connections by names of classes, not {reserved!r}")
    for name, count in reserved.items():
        whole_number(f"reserved[{name!r}]", count, at_least=1)
    if sum(reserved.values()) >= max_connections:
        raise ValueError(f"reserved={reserved!r} leaves none of {least}={max_connections!r} for other classes")


def _seconds(name: str, value: object, *, may_be_none: bool = True, positive: bool = False) -> None:
    if value is None and may_be_none:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number of seconds{' or None' if may_be_none else ''}, not {value!r}")
    # Written so that NaN is refused, too.
    if not 0 <= value <= MOST_SECONDS or (positive and value == 0):
        least = "above 0" if positive else "0 or more"
        raise ValueError(f"{name} must be {least} seconds, and at most {MOST_SECONDS:.0e}, not {value!r}")


def _share(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, not {value!r}")
    if not 0 <= value < 1:
        raise ValueError(f"{name} must be at least 0 and less than 1, not {value!r}")


def _one_of(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, not {value!r}")


def _several(name: str, value: object) -> tuple[object, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError(f"{name} must be a sequence, not {value!r}")
    return tuple(value)


def _optional_float(text: str) -> float | None:
    return None if text.lower() == "none" else float(text)


def _optional_int(text: str) -> int | None:
    return None if text.lower() == "none" else int(text)


def _optional_text(text: str) -> str | None:
    return None if text.lower() == "none" else text


def _optional_pair(text: str) -> tuple[int, ...] | None:
    return None if text.lower() == "none" else tuple(int(part) for part in text.split(","))


_READERS: dict[str, Callable[[str], object]] = {
    "int": int,
    "float": float,
    "float | None": _optional_float,
    "int | None": _optional_int,
    "tuple[int, int] | None": _optional_pair,
    "Shed | None": _optional_text,
}


def _read(name: str, value: object, reader: Callable[[str], object] | None) -> object:
    if reader is None or not isinstance(value, str):
        return value
    if name == "max_connections" and value == "auto":
        return value
    try:
        return reader(value)
    except ValueError:
        raise ValueError(f"Invalid value for {name!r} in connection URL: {value!r}") from None
