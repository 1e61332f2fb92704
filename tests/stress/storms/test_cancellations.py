"""Cancelling costs a shared connection nothing. With `SOAK` set, 100 000 callers leave before their reply has come."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from random import Random

import pytest
import redis

from redpool import embedded
from support.crowds import OURS, SHARED, Tasks, TasksOnUvloop
from support.questions import Counters, Question, questions

CANCELLED = 100_000 if "SOAK" in os.environ else 500


@pytest.mark.parametrize("kind", [SHARED, OURS])
@pytest.mark.parametrize("crowd_class", [Tasks, TasksOnUvloop], ids=lambda each: each.name)
def test_callers_who_leave_cost_no_connection(crowd_class: type[Tasks], kind: str, own_server: embedded.Server) -> None:
    """However many leave before their reply has come: no connection is opened, and each reply is its asker's."""
    if crowd_class is TasksOnUvloop and importlib.util.find_spec("uvloop") is None:
        pytest.skip("uvloop isn't installed")
    crowd = crowd_class(own_server.url, Random(1), kind=kind, callers=50, interrupted=True)
    crowd.counters = Counters(keeps=1000)
    connected: list[int] = []
    with redis.Redis.from_url(own_server.url) as observer:

        def supply() -> Iterator[Question]:
            for number, question in enumerate(filter(may_share, questions(Random(2), sys.maxsize))):
                if number == 100:  # all is open by now that is shared
                    connected.append(observer.info("stats")["total_connections_received"])
                if number > 100 and not number % 100 and crowd.pool.stats().cancelled >= CANCELLED:
                    return
                yield question

        crowd.run(supply())
        connected.append(observer.info("stats")["total_connections_received"])
    assert connected[0] == connected[1]
    assert crowd.counters.interruptions >= CANCELLED
    assert not crowd.counters.faults, crowd.counters.faults[:10]
    crowd.leave()


def may_share(question: Question) -> bool:
    """Whether no caller needs a connection of its own for it."""
    return "BLPOP" not in question.commands[-1]
