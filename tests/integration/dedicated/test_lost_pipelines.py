"""Pipelines and transactions whose replies are lost: whether they are sent again. Notes 4 and 7."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from redpool import ReplyLost
from support.faces import Face
from support.mute import Mute, check_lost, impatient


@pytest.mark.parametrize("how", ["late", "hang-up"])
@pytest.mark.parametrize("transaction", [True, False], ids=["multi", "plain"])
def test_a_pipeline_that_must_not_run_twice_is_not_sent_again(
    face: Face, mute: Mute, how: str, transaction: bool
) -> None:
    """One command of it is enough; the error has that one's name. What was answered before doesn't matter."""
    pool = face.pool(**mute.at, **impatient(how), retry=face.retry(3))
    pipe = face.client(pool).pipeline(transaction=transaction)
    pipe.set("a", 1)
    pipe.incr("n")
    pipe.get("a")
    mute.withhold("EXEC" if transaction else "GET")
    check_lost(mute.lose(how, pipe.execute).ended(), "INCRBY", how)
    assert mute.heard == 1
    assert pool.stats().in_use == 0


@pytest.mark.parametrize("transaction", [True, False], ids=["multi", "plain"])
def test_a_pipeline_that_may_run_twice_is_sent_again(face: Face, mute: Mute, transaction: bool) -> None:
    """As a whole."""
    client = face.client(face.pool(**mute.at, retry=face.retry(1)))
    pipe = client.pipeline(transaction=transaction)
    pipe.set("a", 1)
    pipe.get("a")
    mute.withhold("EXEC" if transaction else "GET", then=[b"OK", b"value"] if transaction else b"value")
    assert mute.lose("hang-up", pipe.execute).result() == [True, b"value"]


def test_in_company_what_is_harmless_need_not_be(face: Face, mute: Mute) -> None:
    """GET and then SET: in a second run GET would see what the first one has set."""
    pipe = face.client(face.pool(**mute.at, retry=face.retry(1))).pipeline(transaction=False)
    pipe.get("a")
    pipe.set("a", 1)
    mute.withhold("SET")
    check_lost(mute.lose("hang-up", pipe.execute).ended(), "SET")
    assert mute.heard == 1


# -- under WATCH -------------------------------------------------------------------------------------------------------


def test_a_lost_read_under_watch_is_a_watch_error(face: Face, mute: Mute) -> None:
    """The watch is gone with the connection, so redis-py's callers begin again; nothing was done."""
    client = face.client(face.pool(**mute.at, retry=face.retry(3)))
    with client.pipeline() as pipe:
        pipe.watch("n")
        mute.withhold("GET")
        assert type(mute.lose("hang-up", lambda: pipe.get("n")).ended()) is redis.WatchError
        assert mute.heard == 1


def test_a_lost_write_under_watch_is_lost(face: Face, mute: Mute) -> None:
    """A `WatchError` would have the caller do it again."""
    client = face.client(face.pool(**mute.at, retry=face.retry(3)))
    with client.pipeline() as pipe:
        pipe.watch("n")
        mute.withhold("SET")
        check_lost(mute.lose("hang-up", lambda: pipe.set("n", 1)).ended(), "SET")
        assert mute.heard == 1


def test_a_lost_watch_is_sent_again(face: Face, mute: Mute) -> None:
    """The first one: nothing was watched that could have been missed. What is watched then holds for the EXEC."""
    client = face.client(face.pool(**mute.at, retry=face.retry(1)))
    with client.pipeline() as pipe:
        mute.withhold("WATCH")
        assert mute.lose("hang-up", lambda: pipe.watch("n")).result() is True
        mute.server.answer("EXEC", None)  # as after a change by another client
        pipe.multi()
        pipe.incr("n")
        with pytest.raises(redis.WatchError):
            pipe.execute()
    watched, executed = ([each for each in mute.server.commands if each.name == name] for name in ("WATCH", "EXEC"))
    assert [each.args for each in watched] == [[b"n"], [b"n"]]
    assert watched[-1].connection == executed[0].connection


def test_a_watch_loop_applies_its_change_once(face: Face, mute: Mute, mute_at: dict[str, Any]) -> None:
    """EXEC has run, and its reply is lost: a `ReplyLost`, which no loop over `WatchError` takes for a conflict."""
    client = face.client(face.pool(**mute_at, socket_timeout=30.0, retry=face.retry(3)))
    mute.server.answer("GET", b"5")

    def add_one() -> None:
        with client.pipeline() as pipe:
            while True:
                try:
                    pipe.watch("n")
                    n = int(pipe.get("n"))
                    pipe.multi()
                    pipe.set("n", n + 1)
                    pipe.execute()
                    return
                except redis.WatchError:
                    continue

    mute.withhold("EXEC", then=[b"OK"])
    error = mute.lose("reset", add_one).ended()
    assert type(error) is ReplyLost
    assert error.sent
    assert mute.heard == 1
