"""What tests say to made-up servers, and the proxy before them."""

from __future__ import annotations

from typing import Any

import redis

from redpool.testing import FaultProxy

BARE: dict[str, Any] = {"protocol": 2, "driver_info": None}
"""The keywords of a connection without a handshake, so that the first piece of a reply answers the first command."""

NO_PING = redis.ResponseError("NOPERM this user has no permissions to run the 'ping' command")


def let_it_be_done(proxy: FaultProxy) -> None:
    """Return once the proxy has done what came before: its hanging up stands in the client's kernel then."""
    proxy.delay(0.0)
