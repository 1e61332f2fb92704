"""The pool's hold on a connection that it has opened."""

from __future__ import annotations

import weakref
from typing import Any


class Reference(weakref.ref[Any]):
    """A weak reference to a connection, and whose it is: an engine, and the slot there.

    A leased connection is kept by its caller alone, so that one that was dropped instead of given back (a PubSub, a
    watching pipeline, a lease) is collected, and its place comes free.
    """

    __slots__ = ("engine", "slot")

    engine: Any
    slot: Any
