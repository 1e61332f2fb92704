"""The thread that reads a source: what it hands on, and that it ends."""

from __future__ import annotations

import queue

from redpool.fleet.model import FleetView
from redpool.top.headline import Look
from redpool.top.looks import Looks, OfService
from support.views import Played, pool, process, view

PATIENCE = 30.0


def looked(source: Played, number: int) -> list[Look]:
    """Return the first looks at a source, which is closed then."""
    seen: queue.Queue[Look] = queue.Queue()
    looks = Looks(source, 0.001, seen.put)
    looks.start()
    found = [seen.get(timeout=PATIENCE) for _ in range(number)]
    looks.end()
    assert source.closed.wait(PATIENCE)
    return found


def test_what_was_known_before_an_error_is_kept() -> None:
    """With the error, and with the time at which it was so; before the first view there is nothing."""
    first, last = view(process(pool())), view()
    failed = view(error="refused")
    found = looked(Played([failed, first, failed, last]), 4)
    assert [(look.view, look.error) for look in found] == [
        (None, "refused"), (first, None), (first, "refused"), (last, None),
    ]  # fmt: skip
    assert found[2].at == found[1].at


class Broken(Played):
    """A source that raises at first, which none should."""

    def read(self) -> FleetView:
        if self.reads:
            return super().read()
        self.reads += 1
        raise RuntimeError("a fault")


def test_an_unexpected_error_ends_no_thread() -> None:
    """It is shown, and the next look may do."""
    assert [look.error for look in looked(Broken([view()]), 2)] == ["RuntimeError: a fault", None]


def test_a_service_is_seen_alone() -> None:
    """With the server's side as it is."""
    source = Played([view(process(pool()), process(pool(), service="other", pid=2))])
    assert [each.service for each in OfService(source, "other").read().processes] == ["other"]
