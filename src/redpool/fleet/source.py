"""Where an application has its view from: a fleet's Redis, or one process."""

from __future__ import annotations

from typing import Protocol

from .model import FleetView


class Source(Protocol):
    """What shows a fleet, or a part of it. It belongs to one thread."""

    def read(self) -> FleetView:
        """Return what there is to see now; where that fails the last view, with its `error` set. It raises nothing."""

    def close(self) -> None:
        """Close its connections."""
