"""What tests say to made-up servers, and the proxy before them."""

from __future__ import annotations

from typing import Any

import redis

from redpool.redispy.internals import DriverInfo, has
from redpool.testing import FaultProxy


def _unnamed() -> dict[str, Any]:
    """Return the keywords of a connection that doesn't tell the server which library it serves."""
    if not has("driver information"):
        return {"lib_name": None, "lib_version": None}
    return {"driver_info": None if has("RESP3 by default") else DriverInfo("", "")}


UNNAMED = _unnamed()

BARE: dict[str, Any] = {"protocol": 2, **UNNAMED}
"""The keywords of a connection without a handshake, so that the first piece of a reply answers the first command."""

NO_PING = redis.ResponseError("NOPERM this user has no permissions to run the 'ping' command")


def let_it_be_done(proxy: FaultProxy) -> None:
    """Return once the proxy has done what came before: its hanging up stands in the client's kernel then."""
    proxy.delay(0.0)
