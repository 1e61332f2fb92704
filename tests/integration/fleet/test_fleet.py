"""Processes report, and a reader sees them beside the server's clients."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis

import redpool
from redpool import embedded
from redpool.fleet import Owner, Publisher, Reader, of_process
from redpool.fleet.keys import DEFAULT, PERIODS, Keys, reporting
from redpool.fleet.link import Link, target_of_url
from redpool.fleet.model import ServerClient
from redpool.fleet.publisher import _Reporter
from support.children import begun
from support.faces import Listener, eventually

from .conftest import PERIOD, processes

ME = f"checkout@{socket.gethostname()}:{os.getpid()}"
PAGE = Path(__file__).parents[3] / "docs" / "fleet.md"
Publish = Callable[..., Publisher]


def write(client: Any, report: Any, fleet: str = DEFAULT) -> None:
    """Report as a process does."""
    for command in reporting(Keys.of(fleet), report, noted=True):
        client.execute_command(*command)


def test_a_process_is_seen_until_it_ends(publish: Publish, reader: Reader, pool: Any, redis_url: str) -> None:
    """With its pools, and the history of them; when it is closed its report is gone at once, and so is its thread."""
    assert processes(reader.read()) == set()
    publisher = publish(pool)
    assert eventually(lambda: processes(reader.read()) == {ME})
    (report,) = reader.read().processes
    assert [each.name for each in report.pools] == ["cache"]
    assert (report.pools[0].open, report.period, report.redpool) == (1, 60.0, redpool.__version__)
    history = reader.read().history
    assert [(sample.process, sample.pool, sample.open) for sample in history] == [(ME, "cache", 1)]
    assert Reader(redis_url).read().history == history
    publisher.close()
    assert processes(reader.read()) == set()
    assert not publisher._goes_on()
    publisher.close()


def test_all_pools_of_the_process(publish: Publish, reader: Reader, redis_url: str) -> None:
    """Without a pool it reports all there are: those that are made later, until they are gone."""
    publish(url=redis_url, period=PERIOD)
    later = redpool.ConnectionPool.from_url(redis_url, name="made later")

    def seen() -> set[str]:
        return {pool.name for process in reader.read().processes for pool in process.pools}

    assert eventually(lambda: "made later" in seen())
    del later
    gc.collect()
    assert eventually(lambda: "made later" not in seen())


def test_it_ends_with_its_pools(publish: Publish, reader: Reader, redis_url: str) -> None:
    """It doesn't keep those alive that it was given."""
    pool = redpool.ConnectionPool.from_url(redis_url)
    publisher = publish(pool, period=PERIOD)
    assert eventually(lambda: processes(reader.read()) == {ME})
    del pool
    gc.collect()
    assert eventually(lambda: not publisher._goes_on())
    assert processes(reader.read()) == set()


def test_it_takes_no_connection_of_the_users(publish: Publish, reader: Reader, pool: Any) -> None:
    """It connects by itself, with the pool's address, and can be told from the pool's connections."""
    with pool.connection():
        publish(pool)
        assert eventually(lambda: processes(reader.read()) == {ME})
        assert pool.stats().open == 1
    own = f"checkout/fleet@{ME.partition('@')[2]}"
    assert eventually(lambda: _owners(reader).get(own) is Owner.KNOWN)
    (library,) = {client.library for client in _clients(reader) if client.name == own}
    assert "redpool" in (library or "redpool")  # a server of before Redis 7.2 knows none


def test_wrong_options(pool: Any, publish: Publish) -> None:
    """Each is refused at once, by name and value."""
    publish(pool)
    wrong: list[tuple[type[Exception], str, dict[str, Any]]] = [
        (ValueError, "checkout.*reports to fleet 'redpool' already", {}),
        (ValueError, "service=''", {"service": ""}),
        (ValueError, r"service='a\\n'", {"service": "a\n"}),
        (ValueError, "period=0", {"period": 0}),
        (ValueError, "period='1'", {"period": "1"}),
        (ValueError, "fleet='a}b'", {"fleet": "a}b"}),
        (ValueError, "^url=: ", {"url": "http://here", "service": "other"}),
        (TypeError, "pools=3", {"pools": 3, "service": "other"}),
        (ValueError, r"pools=\[\]", {"pools": [], "service": "other"}),
    ]
    for error, said, options in wrong:
        with pytest.raises(error, match=said):
            publish(**{"pools": pool} | options)
    with pytest.raises(ValueError, match="history=-1"):
        Reader("redis://", history=-1)


def test_each_fleet_has_a_name(publish: Publish, pool: Any, reader: Reader, redis_url: str) -> None:
    """By their names, in one Redis."""
    publish(pool, fleet="blue")
    blue = Reader(redis_url, fleet="blue")
    assert eventually(lambda: processes(blue.read()) == {ME})
    assert processes(reader.read()) == set()
    blue.close()


def test_two_hundred_processes(reader: Reader, redis_url: str) -> None:
    """All are seen, and one that falls silent leaves when its report expires, three periods after it."""
    with redis.Redis.from_url(redis_url) as client:
        report = of_process([redpool.ConnectionPool.from_url(redis_url)] * 5, service="checkout", period=60.0)
        for number in range(200):
            write(client, replace(report, host=f"web-{number}"))
        view = reader.read()
        assert len(processes(view)) == 200
        assert view.max_connections == 200 * 5 * 50
        key = Keys.of(DEFAULT).process(f"checkout@web-7:{os.getpid()}")
        assert 0 < client.pttl(key) <= PERIODS * 60_000
        client.pexpire(key, 1)
        assert eventually(lambda: len(processes(reader.read())) == 199)
        assert "checkout@web-8:" in " ".join(processes(reader.read()))


def test_a_report_whose_bytes_stay_is_decoded_once(reader: Reader, redis_url: str) -> None:
    """What didn't change is the same object in the next view."""
    with redis.Redis.from_url(redis_url) as client:
        report = of_process([redpool.ConnectionPool.from_url(redis_url)], service="checkout", period=60.0)
        write(client, report)
        write(client, replace(report, pid=1))
        before = {process.pid: process for process in reader.read().processes}
        write(client, replace(report, pid=1, at=report.at + 1))
        after = {process.pid: process for process in reader.read().processes}
    assert after[report.pid] is before[report.pid]
    assert after[1].at == before[1].at + 1


PARENT = """
import os, sys, time
import redpool
pool = redpool.ConnectionPool.from_url(sys.argv[1], name="cache")
redpool.publish(pool, service="checkout", period=float(sys.argv[2]))
connection = pool.get_connection()
child = os.fork()
if child == 0:
    time.sleep(60)
print(child, flush=True)
sys.stdin.readline()
"""


def test_real_processes(reader: Reader, redis_url: str) -> None:
    """A forked child reports, too; killed, it leaves within three periods. One that ends leaves at once, silently."""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PARENT, redis_url, str(PERIOD)]
    pipe = subprocess.PIPE
    parent = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    try:
        assert eventually(lambda: _pids(reader) == {parent.pid, child})
        (key,) = [process.key for process in reader.read().processes if process.pid == child]
    finally:
        os.kill(child, signal.SIGKILL)
    with redis.Redis.from_url(redis_url) as client:
        assert client.pttl(Keys.of(DEFAULT).process(key)) <= PERIODS * PERIOD * 1000
    assert eventually(lambda: _pids(reader) == {parent.pid})
    out, errors = parent.communicate("\n", timeout=20)
    assert _pids(reader) == set()
    assert (out, errors, parent.returncode) == ("", "", 0)


def _pids(reader: Reader) -> set[int]:
    return {process.pid for process in reader.read().processes}


def test_a_child_that_was_forked_without_hooks(publish: Publish, reader: Reader, pool: Any, redis_url: str) -> None:
    """It reports once it has used a pool, as under uWSGI; its parent goes on, over a connection of its own."""
    publish(pool, period=PERIOD)
    assert eventually(lambda: processes(reader.read()) == {ME})

    def work() -> None:
        redis.Redis(connection_pool=pool).ping()
        time.sleep(60)

    pid = begun(work)
    try:
        assert eventually(lambda: _pids(reader) == {pid, os.getpid()})
        before = {process.pid: process.at for process in reader.read().processes}
        assert eventually(lambda: all(process.at > before.get(process.pid, 0) for process in reader.read().processes))
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_clients_of_a_process_that_is_gone(reader: Reader, redis_url: str) -> None:
    """Those that its pools have left are orphaned, those of others foreign."""
    name = f"checkout/cache@{socket.gethostname()}:{os.getpid()}"
    with redis.Redis.from_url(redis_url, client_name=name) as client, redis.Redis.from_url(redis_url) as other:
        other.ping()
        report = of_process([redpool.ConnectionPool.from_url(redis_url)], service="checkout", period=60.0)
        write(client, report)
        assert eventually(lambda: _owners(reader).get(name) is Owner.KNOWN)
        client.delete(Keys.of(DEFAULT).process(report.key))
        assert eventually(lambda: _owners(reader)[name] is Owner.ORPHANED)
        assert _owners(reader)[""] is Owner.FOREIGN


def _owners(reader: Reader) -> dict[str, Owner]:
    return {client.name: client.owner for client in _clients(reader)}


def _clients(reader: Reader) -> tuple[ServerClient, ...]:
    server = reader.read().server
    assert server is not None
    return server.clients


def test_the_servers_side(reader: Reader, redis_url: str) -> None:
    """Its figures, its slow commands by name only, and nothing that it can't tell."""
    with redis.Redis.from_url(redis_url) as client:
        before = client.config_get("slowlog-log-slower-than")
        client.config_set("slowlog-log-slower-than", 0)
        client.set("a-key-of-mine", "a-value-of-mine")
        client.config_set("slowlog-log-slower-than", before["slowlog-log-slower-than"])
        reader.read()
        view = reader.read()
        client.slowlog_reset()
    server = view.server
    assert server is not None
    assert (server.unseen, server.max_clients) == ((), 10_000)
    assert server.connected_clients is not None
    assert "set" in {command.lower() for _, _, command, _ in server.slow}
    assert "-of-mine" not in repr(view)


def test_what_acl_forbids_is_said(publish: Publish, pool: Any, redis_url: str) -> None:
    """The reader sees the rest, and doesn't ask again."""
    with user(redis_url, ">pw ~redpool:fleet:* +info +set +zadd +zrevrange +mget") as url:
        reader = Reader(url)
        publish(pool, url=url)
        assert eventually(lambda: processes(reader.read()) == {ME})
        view = reader.read()
        assert view.server is not None
        assert view.server.version
        unseen = " | ".join(view.server.unseen)
        for command in ("CLIENT LIST: ", "SLOWLOG GET: ", "LATENCY LATEST: ", "reports: "):
            assert command in unseen
        assert reader._side.commands() == [("INFO",)]
        reader.close()


def test_what_reporting_needs(
    publish: Publish, pool: Any, reader: Reader, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The user that docs/fleet.md describes may do all of it; one that lacks a command is said once."""
    rules = re.findall(r"^ACL SETUSER reporter on (.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    with user(redis_url, rules[0]) as url:
        publisher = publish(pool, url=url)
        assert eventually(lambda: reader.read().history)
        publisher.close()
        assert processes(reader.read()) == set()
        assert not caplog.records
    with user(redis_url, f"{rules[0]} -xadd") as url:
        publish(pool, url=url, period=0.01)
        assert eventually(lambda: caplog.records)
        time.sleep(0.06)
    assert ["XADD" in record.message for record in caplog.records].count(True) == 1


@contextlib.contextmanager
def user(url: str, rules: str) -> Iterator[str]:
    """The server's URL for a user with these rules."""
    with redis.Redis.from_url(url) as client:
        client.execute_command("ACL", "SETUSER", "narrow", "reset", "on", *rules.split())
        yield url.replace("://", f"://narrow:{rules.split(maxsplit=1)[0][1:]}@")
        client.acl_deluser("narrow")


def test_what_a_credential_provider_raises_is_in_no_log(
    caplog: pytest.LogCaptureFixture, publish: Publish, redis_url: str
) -> None:
    """Its class is; the text may quote a secret."""

    class Refusing(redis.CredentialProvider):
        def get_credentials(self) -> tuple[str]:
            raise LookupError("top-secret")

    with redpool.ConnectionPool.from_url(redis_url, credential_provider=Refusing()) as pool:
        publish(pool, url=None)
        assert eventually(lambda: "LookupError" in caplog.text)
    assert "top-secret" not in caplog.text


def test_a_redis_that_goes_and_comes_back(caplog: pytest.LogCaptureFixture, publish: Publish) -> None:
    """The reporter says so once; the reader shows the last view, with what is wrong; both find it again."""
    caplog.set_level(logging.INFO, "redpool.fleet")
    with embedded.start() as server:
        pool = redpool.ConnectionPool.from_url(server.url)
        publish(pool, period=PERIOD)
        reader = Reader(server.url)
        assert eventually(lambda: processes(reader.read()) == {ME})
        server.stop()
        view = reader.read()
        assert view.error
        assert len(view.processes) == 1
        assert eventually(lambda: caplog.records)
        reader.read()
        server.restart()
        assert eventually(lambda: not (view := reader.read()).error and processes(view) == {ME})
        assert eventually(lambda: len(caplog.records) == 2)
        reader.close()
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_a_read_raises_nothing(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever answers in the place of a Redis: the view says what was wrong, and the next look begins anew."""
    before = reader.read()
    answers: dict[str, object] = {}
    monkeypatch.setattr(reader._side, "view", lambda *args: answers["of another making"])
    view = reader.read()
    assert view == replace(before, error="KeyError: 'of another making'")
    monkeypatch.undo()
    assert reader.read().error is None


def test_attempts_come_ever_less_often(caplog: pytest.LogCaptureFixture, refusing: Listener) -> None:
    """With some chance in it, so that processes don't come together; the first failure is logged, and no other."""
    target = target_of_url(f"redis://:hush@127.0.0.1:{refusing.port}")
    reporter = _Reporter(Keys.of(DEFAULT), Link(lambda: target, "name"))
    report = of_process([], service="checkout")
    pauses = [reporter.turn(report) for _ in range(8)]
    for failures, pause in enumerate(pauses, 1):
        longest = min(30.0, 2.0**failures)
        assert longest / 2 <= pause <= longest
    reporter.leave()
    (record,) = caplog.records
    assert "can't report" in record.message
    assert "hush" not in record.message


def test_reports_of_others_are_data(reader: Reader, redis_url: str) -> None:
    """One that is none, or is of another process than its key says, is left out and counted; names are text."""
    keys = Keys.of(DEFAULT)
    with redis.Redis.from_url(redis_url) as client:
        report = of_process([redpool.ConnectionPool.from_url(redis_url)], service="checkout", period=60.0)
        odd = replace(report, service="\x1b[2J<script>é\n", pools=(replace(report.pools[0], name="';--"),))
        write(client, odd)
        client.zadd(keys.index, {"a@b:1": 1, "c@d:2": 2, "e@f:3": 3, b"\xff\xfe": 4})
        client.set(keys.process("a@b:1"), b"{")
        client.set(keys.process("c@d:2"), client.get(keys.process(odd.key)))
        client.lpush(keys.process("e@f:3"), "no string")
        client.xadd(keys.history, {"r": b"\xff"})
        client.xadd(keys.history, {"other": b"{}"})
        view = reader.read()
        assert processes(view) == {odd.key}
        assert view.processes[0].pools[0].name == "';--"
        assert view.server is not None
        assert view.server.unseen == ("reports: 2 can't be read",)
        client.delete(keys.index)
        client.set(keys.index, "no set")
        reader.read()
        unseen = reader.read().server
        assert unseen is not None
        assert "WRONGTYPE" in unseen.unseen[0]
