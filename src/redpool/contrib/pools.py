"""The pools of this process: one for each URL, kind and set of options, however often a framework asks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from redpool.installation import of_kind

_pools: dict[object, Any] = {}


def pool(url: str, kind: str = "multiplexed", **options: Any) -> Any:
    """Return the pool for threads, which the first call makes."""
    return made_once(of_kind(kind).pool.from_url, url=url, **options)


def pool_async(url: str, kind: str = "multiplexed", **options: Any) -> Any:
    """Return the pool for event loops, which the first call makes; each loop has connections of its own."""
    return made_once(of_kind(kind).pool_async.from_url, url=url, **options)


def made_once(make: Callable[..., Any], **options: Any) -> Any:
    """Return what `make(**options)` returned when it was called first."""
    # What is made keeps the options' values, so that no other one gets the address by which one of them is shown.
    key = (make, *sorted((name, repr(value)) for name, value in options.items()))
    made = _pools.get(key)
    if made is None:  # there is no lock, which a fork might find locked: of two that are made at once, one stays
        made = _pools.setdefault(key, make(**options))
    return made
