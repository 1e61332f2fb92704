"""Maintenance notifications (MOVING and its kin): redis-py's handlers, with a weak reference to the pool.

A handler runs in the thread or task that has read the push. When a server moves, redis-py replaces all connections,
sets the new address after that, and keeps its pool's lock for both. Here no connect waits: the new address is set
first, so that all later connects go there.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Mapping
from typing import Any

from .internals import AsyncMaintNotificationsPoolHandler, MaintenanceState, MaintNotificationsPoolHandler


def hold_weakly(handler: Any, pool: Any) -> None:
    """Have redis-py's handler refer to the pool weakly: each connection refers to it, and a dropped pool must go."""
    if handler is not None:
        handler.pool = weakref.proxy(pool)
        handler.__class__ = _Handlers[type(handler)]


def new_address(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the connection options that change where all connections get these settings."""
    host = settings.get("host_address")
    return {"host": host} if host is not None and settings.get("state") is MaintenanceState.MOVING else {}


class _Handler(MaintNotificationsPoolHandler):
    """A handler that does nothing once its pool is gone; a timer may call it later."""

    def get_handler_for_connection(self) -> Any:
        copy = super().get_handler_for_connection()
        copy.__class__ = type(self)
        return copy

    def run_proactive_reconnect(self, moving_address_src: str | None = None) -> None:
        with contextlib.suppress(ReferenceError):
            super().run_proactive_reconnect(moving_address_src)

    def handle_node_moved_notification(self, notification: Any) -> None:
        with contextlib.suppress(ReferenceError):
            super().handle_node_moved_notification(notification)


class _AsyncHandler(AsyncMaintNotificationsPoolHandler):
    """A handler of an event loop that does nothing once its pool is gone."""

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
