"""Maintenance notifications (MOVING and its kin): redis-py's handlers, over a pool that they hold weakly.

A handler runs in the thread or task that has read the push. When a server moves, redis-py has all connections replaced
and sets the new address after that, and holds its pool's lock over both. Here no connect waits: the new address is set
first, so that whatever is connected from then on goes there.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Mapping
from typing import Any

from redis.asyncio.maint_notifications import AsyncMaintNotificationsPoolHandler
from redis.maint_notifications import MaintenanceState, MaintNotificationsPoolHandler


def hold_weakly(handler: Any, pool: Any) -> None:
    """Let redis-py's handler, which every connection holds, hold the pool weakly: a dropped pool must go."""
    if handler is not None:
        handler.pool = weakref.proxy(pool)
        handler.__class__ = _Handlers[type(handler)]


def new_address(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of connections that are different from now on, as all connections get these settings."""
    host = settings.get("host_address")
    return {"host": host} if host is not None and settings.get("state") is MaintenanceState.MOVING else {}


class _Handler(MaintNotificationsPoolHandler):
    """What is due later, by a timer, is due no more once the pool is gone."""

    def get_handler_for_connection(self) -> Any:
        copy = super().get_handler_for_connection()  # type: ignore[no-untyped-call]
        copy.__class__ = type(self)
        return copy

    def run_proactive_reconnect(self, moving_address_src: str | None = None) -> None:
        with contextlib.suppress(ReferenceError):
            super().run_proactive_reconnect(moving_address_src)

    def handle_node_moved_notification(self, notification: Any) -> None:
        with contextlib.suppress(ReferenceError):
            super().handle_node_moved_notification(notification)


class _AsyncHandler(AsyncMaintNotificationsPoolHandler):
    """The same on an event loop."""

    def get_handler_for_connection(self) -> Any:
        copy = super().get_handler_for_connection()
        copy.__class__ = type(self)
        return copy

    async def run_proactive_reconnect(self, moving_address_src: str | None = None) -> None:
        with contextlib.suppress(ReferenceError):
            await super().run_proactive_reconnect(moving_address_src)

    async def handle_node_moved_notification(self, notification: Any) -> None:
        with contextlib.suppress(ReferenceError):
            await super().handle_node_moved_notification(notification)


_Handlers: dict[type, type] = {
    MaintNotificationsPoolHandler: _Handler,
    AsyncMaintNotificationsPoolHandler: _AsyncHandler,
}
