"""The thread below the proxy, the server and the script."""

from __future__ import annotations

import selectors
import socket
import threading
from typing import Any

import pytest

from redpool.testing.loop import Loop
from support.faces import PATIENCE, Doing, eventually


class CallsFirst(selectors.DefaultSelector):
    """Tells first of the socket that it has had longest: `select`, to name one, tells in no order at all."""

    def select(self, timeout: float | None = None) -> Any:
        longest = next(iter(self.get_map()))
        return sorted(super().select(timeout), key=lambda each: each[0].fd != longest)


def test_what_came_before_a_call_is_done_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where both come while the loop is busy."""
    monkeypatch.setattr(selectors, "DefaultSelector", CallsFirst)
    loop = Loop("a loop")
    near, far = socket.socketpair()
    seen: list[bytes] = []
    held, end = threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        end.wait(PATIENCE)

    with near, far:
        loop.call(lambda: loop.watch(far, selectors.EVENT_READ, lambda _: seen.append(far.recv(1))))
        holding = Doing(lambda: loop.call(hold))
        assert held.wait(PATIENCE)
        near.send(b"!")
        calling = Doing(lambda: loop.call(lambda: list(seen)))
        assert eventually(lambda: len(loop._calls) == 1)
        end.set()
        holding.result()
        assert calling.result() == [b"!"]
        loop.close()
