"""Make pools of redpool's wherever this process makes redis-py's: `redpool.install()`.

It is for frameworks that build redis-py's pools themselves and take none. Nothing else of redis-py changes.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from . import asyncio
from .asyncio.sentinel import SentinelConnectionPool as AsyncSentinelConnectionPool
from .core.config import MultiplexedConfig, PoolConfig, suggest
from .redispy import exchange
from .sync.multiplexed import MultiplexedConnectionPool
from .sync.pool import ConnectionPool
from .sync.sentinel import SentinelConnectionPool


class Kind(NamedTuple):
    """The classes of a kind of pool: of its options, for threads, for event loops."""

    config: type[PoolConfig]
    pool: Any
    pool_async: Any


KINDS = {
    "dedicated": Kind(PoolConfig, ConnectionPool, asyncio.ConnectionPool),
    "multiplexed": Kind(MultiplexedConfig, MultiplexedConnectionPool, asyncio.MultiplexedConnectionPool),
}
_NO_TEXT = {"name", "instruments", "shareable_commands"}  # the environment can't say them
_BLOCKING_TIMEOUT = 20.0  # what redis-py's blocking pool waits if nothing else is said


def install(kind: str | None = None, **options: Any) -> None:
    """Have redis-py's classes of pools make redpool's from now on, in this process and in those forked from it.

    `kind` is "dedicated", a `redpool.ConnectionPool`, or "multiplexed", a `redpool.MultiplexedConnectionPool`.
    `options` are such a pool's, for those whose makers say nothing else: `redpool.install(max_connections=20)`. What is
    not given comes from the environment: `REDPOOL_KIND`, `REDPOOL_MAX_CONNECTIONS`, and so on for each option. A second
    call replaces what the first one said.

    Classes that were derived from redis-py's, and pools that were made before, stay as they are; the log names them.
    Sentinel's pools are multiplexed in either kind. Raises `TypeError` or `ValueError` for a wrong option.
    """
    kind, options = settings(kind, options, os.environ)
    blocking = {"timeout": _BLOCKING_TIMEOUT, **options}
    stand_ins = (
        (exchange.PLAIN, of_kind(kind).pool, options),
        (exchange.PLAIN_ASYNC, of_kind(kind).pool_async, options),
        (exchange.BLOCKING, of_kind(kind).pool, blocking),
        (exchange.BLOCKING_ASYNC, of_kind(kind).pool_async, blocking),
        (exchange.SENTINEL, SentinelConnectionPool, options),
        (exchange.SENTINEL_ASYNC, AsyncSentinelConnectionPool, options),
    )
    exchange.exchange({theirs: _preset(theirs, ours, preset) for theirs, ours, preset in stand_ins})


def uninstall() -> None:
    """Have redis-py's classes make redis-py's pools again; the pools that there are stay as they are."""
    exchange.exchange({})


def settings(
    kind: str | None, options: Mapping[str, Any], environment: Mapping[str, str]
) -> tuple[str, dict[str, Any]]:
    """Return the kind and the options asked for; what is not given comes from the environment.

    Raises `TypeError` or `ValueError` with the name of the option, or of the variable, and its value.
    """
    if kind is None:
        kind = environment.get("REDPOOL_KIND", "dedicated")
        of_kind(kind, "REDPOOL_KIND")
    config = of_kind(kind).config
    for name in options.keys() - config.names():
        hint = "; kind='multiplexed' has it" if name in MultiplexedConfig.names() else suggest(name, config.names())
        raise TypeError(f"unexpected option {name}={options[name]!r}{hint}")
    said = {
        name: environment[_variable(name)]
        for name in sorted(config.names() - _NO_TEXT - options.keys())
        if _variable(name) in environment
    }
    merged = {**{name: _read(config, name, text) for name, text in said.items()}, **options}
    try:
        config.take(dict(merged))
    except (TypeError, ValueError) as error:
        variables = ", ".join(f"{_variable(name)}={text!r}" for name, text in said.items())
        raise type(error)(f"{error} (the environment says {variables})" if said else str(error)) from None
    return kind, merged


def _variable(name: str) -> str:
    return f"REDPOOL_{name.upper()}"


def of_kind(kind: str, name: str = "kind") -> Kind:
    """Return the classes of this kind. Raises `ValueError` with the option's name where there is no such kind."""
    if kind not in KINDS:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, KINDS))}, not {kind!r}")
    return KINDS[kind]


def _read(config: type[PoolConfig], name: str, text: str) -> object:
    """Return an option's value, of which the environment has the text."""
    try:
        return config.from_strings({name: text})[name]
    except ValueError:
        raise ValueError(f"{_variable(name)} must be a number, not {text!r}") from None


def _preset(theirs: Any, ours: Any, options: Mapping[str, Any]) -> Any:
    """Return a class of ours to call in the place of `theirs`, with these options where the call says nothing else."""
    places = list(inspect.signature(theirs.__init__).parameters)[1:]

    class Preset(ours):  # type: ignore[misc]  # a class that is known at run time only
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            said = {**dict(zip(places, args, strict=False)), **kwargs}
            if said.get("max_connections") is None:  # redis-py's clients say None for their users who say nothing
                said.pop("max_connections", None)
            sized = said.get("max_connections", "auto") != "auto"  # by the call, so that limits have no meaning
            preset = {name: options[name] for name in options if name != "limits" or not sized}
            super().__init__(**{**preset, **said})

    Preset.__name__, Preset.__qualname__ = ours.__name__, ours.__qualname__
    Preset.__module__, Preset.__doc__ = ours.__module__, ours.__doc__
    return Preset
