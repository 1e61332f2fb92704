"""Storms over a busy pool. Whatever breaks: no caller gets another's reply, nothing runs twice, no slot is lost.

With `SOAK` set each storm lasts longer; the interruptions alone are then 100 000 and more.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

import pytest
import redis

from redpool import embedded
from redpool.testing import FaultProxy
from support.crowds import (
    CONNECTIONS,
    KINDS,
    NAME,
    SHARED,
    Crowd,
    Tasks,
    TasksOnUvloop,
    Threads,
    descriptors,
    eventually,
)
from support.questions import questions

LONG = "SOAK" in os.environ
Trouble = Callable[[Crowd, embedded.Server, FaultProxy, Random], None]


def none(crowd: Crowd, server: embedded.Server, proxy: FaultProxy, random: Random) -> None:
    """All is well."""
    time.sleep(0.01)


def interrupt(crowd: Crowd, server: embedded.Server, proxy: FaultProxy, random: Random) -> None:
    """A caller is interrupted: a thread by an exception out of the blue, a task by being cancelled."""
    crowd.interrupt()
    time.sleep(0.0005)


def kill(crowd: Crowd, server: embedded.Server, proxy: FaultProxy, random: Random) -> None:
    """The server hangs up on one of them."""
    with redis.Redis.from_url(server.url) as client:
        theirs = [each["id"] for each in client.client_list() if each["name"] == NAME]
        if theirs:
            client.client_kill_filter(_id=random.choice(theirs))
    time.sleep(0.002)


def pause(crowd: Crowd, server: embedded.Server, proxy: FaultProxy, random: Random) -> None:
    """The server stands still for a moment."""
    server.pause()
    time.sleep(random.random() * 0.03)
    server.resume()
    time.sleep(0.01)


def lose_replies(crowd: Crowd, server: embedded.Server, proxy: FaultProxy, random: Random) -> None:
    """Commands are carried out, and their replies are lost with the connection."""
    proxy.half_open()
    time.sleep(0.01)
    proxy.hang_up()
    proxy.heal()
    time.sleep(0.03)


def restart(crowd: Crowd, server: embedded.Server, proxy: FaultProxy, random: Random) -> None:
    """The server crashes, and comes back without its data."""
    server.kill()
    server.restart()
    time.sleep(0.05)


def rearrange(crowd: Crowd, server: embedded.Server, proxy: FaultProxy, random: Random) -> None:
    """The pool's owner replaces all connections, or allows another number of them."""
    with contextlib.suppress(AttributeError):  # not made yet
        crowd.pool.drain()
        crowd.pool.resize(random.randint(1, 2 * CONNECTIONS))
    time.sleep(0.02)


@dataclass(frozen=True)
class Storm:
    """Trouble that comes again and again while so many questions are asked."""

    trouble: Trouble
    questions: int
    hasty: bool = False
    interrupted: bool = False
    forgets: bool = False


STORMS = {
    "calm": Storm(none, 400),
    "interruptions": Storm(interrupt, 120, interrupted=True),
    "connections killed": Storm(kill, 400),
    "replies lost": Storm(lose_replies, 100),
    "pauses": Storm(pause, 300),
    "crashes": Storm(restart, 400, forgets=True),
    "drained and resized": Storm(rearrange, 400),
    "deadlines": Storm(none, 400, hasty=True),
    "deadlines and pauses": Storm(pause, 200, hasty=True),
}


# On uvloop our client stands for both ways of sharing, but where there is time for all.
CROWDS: list[tuple[type[Crowd], str]] = [
    (each, kind)
    for each in (Threads, Tasks, TasksOnUvloop)
    for kind in KINDS
    if LONG or (each, kind) != (TasksOnUvloop, SHARED)
]


@pytest.mark.parametrize("storm", STORMS.values(), ids=STORMS)
@pytest.mark.parametrize(("crowd_class", "kind"), CROWDS, ids=[f"{each.name}-{kind}" for each, kind in CROWDS])
@pytest.mark.usefixtures("interrupted_anywhere", "started_undisturbed")
@pytest.mark.filterwarnings("ignore:.*was released twice:RuntimeWarning")  # by a client that was interrupted in between
def test_a_storm_swaps_and_loses_nothing(
    crowd_class: type[Crowd], kind: str, storm: Storm, own_server: embedded.Server
) -> None:
    """Each reply is its asker's; in the end all slots are free, and the server knows the pool's connections alone."""
    if crowd_class is TasksOnUvloop and importlib.util.find_spec("uvloop") is None:
        pytest.skip("uvloop isn't installed")
    with asyncio.Runner(loop_factory=crowd_class.new_loop) as runner:
        runner.run(asyncio.sleep(0))  # what a loop opens once and for all is no leak
    before = descriptors()
    count = storm.questions * times_longer(crowd_class, storm)
    with FaultProxy(own_server.host, own_server.port) as proxy:
        url = proxy.url if storm.trouble is lose_replies else own_server.url
        crowd = crowd_class(
            url, Random(1), kind=kind, hasty=storm.hasty, interrupted=storm.interrupted, forgets=storm.forgets
        )
        with troubled(storm, crowd, own_server, proxy):
            crowd.run(questions(Random(2), count))
        crowd.leave()
    crowd.counters.check(own_server.url)
    assert len(crowd.counters.asked) > 0.9 * count
    assert eventually(lambda: descriptors() <= before), "a socket was left open"
    if storm.interrupted:
        assert crowd.counters.interruptions > count // 20


def times_longer(crowd_class: type[Crowd], storm: Storm) -> int:
    """A full run has 100 000 interruptions and more, most of them of tasks, which recover sooner."""
    if storm.interrupted and crowd_class is not Threads:
        return 600 if LONG else 5
    return 20 if LONG else 1


@contextlib.contextmanager
def troubled(storm: Storm, crowd: Crowd, server: embedded.Server, proxy: FaultProxy) -> Iterator[None]:
    """While the block runs there is trouble."""
    over = threading.Event()
    faults: list[BaseException] = []

    def make_trouble() -> None:
        random = Random(3)
        try:
            while not over.is_set():
                storm.trouble(crowd, server, proxy, random)
        except BaseException as error:
            faults.append(error)

    maker = threading.Thread(target=make_trouble)
    maker.start()
    try:
        yield
    finally:
        over.set()
        maker.join()
    assert not faults, faults
