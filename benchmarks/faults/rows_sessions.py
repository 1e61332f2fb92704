"""What one caller changes in a connection's session, and the next one gets: note 6."""

from __future__ import annotations

from typing import Any

from .rows import Finding, row
from .sides import Side


def _next_reply(side: Side, *command: Any) -> Finding:
    side.observer().set("bob", "bob-value")
    client = side.threads.client()
    client.execute_command(*command)
    value = client.get("bob")
    return Finding(value == b"bob-value", f"GET bob gave {value!r}")


@row(6, "one caller does SELECT 1 on a client that is shared; then another does GET bob")
def a_select(side: Side) -> Finding:
    """The connection comes back with the other database selected."""
    return _next_reply(side, "SELECT", 1)


@row(6, "one caller does a bare MULTI, and no EXEC; then another does GET bob")
def a_multi(side: Side) -> Finding:
    """The connection comes back inside of a transaction."""
    return _next_reply(side, "MULTI")


@row(6, "one caller does a bare WATCH of a key that then changes; then another one's MULTI ... EXEC")
def a_watch(side: Side) -> Finding:
    """The transaction fails for a key that another caller has watched."""
    client = side.threads.client()
    client.execute_command("WATCH", "watched")
    side.observer().set("watched", "changed")
    try:
        done = client.pipeline().incr("n").execute()
    except Exception as error:
        return Finding(False, f"the transaction failed: {type(error).__name__}")
    return Finding(done == [1], f"the transaction gave {done!r}")
