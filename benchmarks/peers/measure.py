"""Measure one peer in one case: first whether its answers are correct, then how many commands it does."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from redpool.bench.load import Figures, TaskLoad, ThreadLoad

from .cases import Case
from .ground import CHECKED_KEYS, Ground
from .peer import TASKS, Client, Peer

_CHECKED_PIPELINE = 3
_EXPECTED = [*CHECKED_KEYS.values(), [next(iter(CHECKED_KEYS.values()))] * _CHECKED_PIPELINE]
_WARM_UP_SHARE = 0.15
# Some pools open their connections one by one, when many callers come.
_MOST_WARM_UPS = 6
# A peer that hangs ends its measurement, not the run.
_PATIENCE = 60.0  # seconds


class WrongAnswer(Exception):
    """A peer gave a value that the server doesn't have under that key."""


def check(peer: Peer, ground: Ground) -> None:
    """Send a client several commands at once, and a pipeline. Raises `WrongAnswer`, or what the client raises."""
    address = ground.network.address(0)

    async def ask() -> list[Any]:
        async with asyncio.timeout(_PATIENCE), peer.open(address, len(_EXPECTED)) as client:
            return await asyncio.gather(*(question() for question in _questions(client)))

    if peer.kind == TASKS:
        answers = asyncio.run(ask())
    else:
        with peer.open(address, len(_EXPECTED)) as client:
            answers = _at_once(_questions(client))
    if answers != _EXPECTED:
        raise WrongAnswer(f"expected {_EXPECTED}, got {answers}")


def _questions(client: Client) -> list[Callable[[], Any]]:
    keys = list(CHECKED_KEYS)
    return [*(partial(client.get, key) for key in keys), partial(client.pipeline, keys[0], _CHECKED_PIPELINE)]


def _at_once(questions: Sequence[Callable[[], Any]]) -> list[Any]:
    # Not the standard library's thread pool, which would wait for ever for a thread that hangs.
    answers: list[Any] = [None] * len(questions)

    def ask(number: int) -> None:
        try:
            answers[number] = questions[number]()
        except Exception as error:
            answers[number] = error

    threads = [threading.Thread(target=ask, args=(number,), daemon=True) for number in range(len(questions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(_PATIENCE)
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return answers


def measure(peer: Peer, case: Case, ground: Ground, seconds: float) -> Figures:
    """Return the peer's figures for `seconds` of the case, with a new client that has warmed up."""
    watch = _Watch(case, ground)
    if peer.kind == TASKS:
        figures = asyncio.run(_tasks(peer, case, watch, seconds))
    else:
        figures = _threads(peer, case, watch, seconds)
    each = {"per_s": figures["per_s"] * case.pipeline, "cpu_us": figures["cpu_us"] / case.pipeline}
    return {**figures, **each, **watch.figures(seconds)}


def _threads(peer: Peer, case: Case, watch: "_Watch", seconds: float) -> Figures:
    with peer.open(watch.address, case.callers) as client:
        calls = [_call(client, case, watch.key)] * case.callers
        for _ in range(_MOST_WARM_UPS):
            ThreadLoad(calls).run(seconds * _WARM_UP_SHARE, _PATIENCE)
            if not watch.more_connections():
                break
        watch.begin()
        figures = ThreadLoad(calls).run(seconds, seconds + _PATIENCE)
        watch.end()
        return figures


async def _tasks(peer: Peer, case: Case, watch: "_Watch", seconds: float) -> Figures:
    async with asyncio.timeout(seconds + _PATIENCE), peer.open(watch.address, case.callers) as client:
        calls = [_call(client, case, watch.key)] * case.callers
        for _ in range(_MOST_WARM_UPS):
            await TaskLoad(calls).run(seconds * _WARM_UP_SHARE)
            if not watch.more_connections():
                break
        watch.begin()
        figures = await TaskLoad(calls).run(seconds)
        watch.end()
        return figures


def _call(client: Client, case: Case, key: str) -> Callable[[], Any]:
    if case.pipeline == 1:
        return partial(client.get, key)
    return partial(client.pipeline, key, case.pipeline)


class _Watch:
    """What a peer costs beside its own process: its connections at the server, and the relay."""

    def __init__(self, case: Case, ground: Ground) -> None:
        self._ground = ground
        self._round_trip = case.round_trip
        self.address = ground.network.address(case.round_trip)
        self.key = ground.prepare(case.value_bytes)
        self._others = ground.connected()
        self._connections = 0
        self._relay = 0.0

    def more_connections(self) -> bool:
        """Return whether the peer has more connections than at the last call."""
        before, self._connections = self._connections, len(self._ground.connected() - self._others)
        return self._connections > before

    def begin(self) -> None:
        """Note the relay's CPU time before the load."""
        self._relay = self._ground.network.cpu(self._round_trip)

    def end(self) -> None:
        """Note the relay's CPU time and the connections after the load; the client must still be open."""
        self._relay = self._ground.network.cpu(self._round_trip) - self._relay
        self.more_connections()

    def figures(self, seconds: float) -> Figures:
        """Return the number of connections, and the share of a core that the relay used."""
        return {"connections": self._connections, "relay": self._relay / seconds}
