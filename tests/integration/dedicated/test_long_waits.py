"""With `warn_wait` the log says who waits for long, and who has what it waits for, while that lasts."""

from __future__ import annotations

import json
import logging
import re
from typing import Any

import pytest

from support.faces import PATIENCE, Doing, Face, eventually


def reports(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """What was reported of pools, each as the values in its line."""
    found = []
    for record in caplog.records:
        if ": long wait: " in (line := record.getMessage()):
            pairs = re.findall(r"(\w+)=(\"(?:[^\"\\]|\\.)*\"|\[.*\]|[^ ]+)", line.partition(": long wait: ")[2])
            found.append({name: json.loads(value) for name, value in pairs})
    return found


def test_a_long_wait_is_in_the_log(face: Face, at: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    """With the borrower of each connection, the line that took it, and what it has sent last."""
    pool = face.pool(**at, max_connections=1, timeout=PATIENCE, warn_wait=0.02, name="scarce")
    pool.warm_up(1)  # the wait for a connect may be long, too
    client = face.client(pool)
    with caplog.at_level(logging.WARNING, "redpool"), pool.connection() as connection:
        connection.send_command("ECHO", "secret")
        connection.read_response()
        waiting = Doing(client.ping)
        assert eventually(lambda: reports(caplog))
        assert not waiting.done
    assert waiting.result() is True
    (report,) = reports(caplog)
    assert report["waited"] >= 0.02
    assert (report["in_use"], report["max_connections"], report["waiting"], report["more"]) == (1, 1, 1, 0)
    (holder,) = report["held_by"]
    assert holder["command"] == "ECHO"
    assert holder["at"].startswith("File ")
    assert ("task" if face.asynchronous else "thread") in holder["borrower"]
    assert ("task" if face.asynchronous else "thread") in report["caller"]
    assert caplog.records[-1].getMessage().startswith("scarce: ")
    assert "secret" not in caplog.text


def test_a_wait_for_a_reply_shows_the_line(threads: Face, at: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    """Of the code that has called redis-py's client, for a single command, too."""
    pool = threads.pool(**at, max_connections=1, timeout=PATIENCE, warn_wait=0.02)
    pool.warm_up(1)
    client = threads.client(pool)
    with caplog.at_level(logging.WARNING, "redpool"):
        blocked = Doing(lambda: client.blpop("jobs", PATIENCE))
        assert eventually(lambda: client.connection_pool.stats().in_use)
        waiting = Doing(client.ping)
        assert eventually(lambda: reports(caplog))
    threads.client(threads.pool(**at)).rpush("jobs", "job")
    assert (blocked.result(), waiting.result()) == ((b"jobs", b"job"), True)
    (holder,) = reports(caplog)[0]["held_by"]
    assert (holder["command"], __file__ in holder["at"]) == ("BLPOP", True)


def test_a_wait_for_room_is_in_the_log(
    multiplexed_face: Face, at: dict[str, Any], caplog: pytest.LogCaptureFixture, own_server: Any
) -> None:
    """On a connection that callers share: with the commands that are in flight."""
    face, where = multiplexed_face, {"host": own_server.host, "port": own_server.port}
    pool = face.pool(**where, max_in_flight=1, timeout=PATIENCE, socket_timeout=PATIENCE, warn_wait=0.1)
    client = face.client(pool)
    client.ping()
    caplog.clear()
    own_server.pause()
    with caplog.at_level(logging.WARNING, "redpool"):
        doings = [Doing(lambda: client.get("key")) for _ in range(3)]
        reported = eventually(lambda: reports(caplog))
    own_server.resume()
    assert reported
    assert [each.result() for each in doings] == [None] * 3
    report = reports(caplog)[0]
    assert report["waited"] >= 0.1
    assert report["in_flight"] == 1
    assert [each["command"] for each in report["held_by"]] == ["GET"]
