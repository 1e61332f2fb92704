"""The command on a real server: what it finds, what it may not see, and what it never shows."""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.exceptions import ResponseError

import redpool
from redpool import embedded
from redpool.cli import main
from redpool.doctor.gathering import BadUsage, gather
from redpool.doctor.rules import RULES
from redpool.doctor.server import without_credentials
from redpool.fleet import listen, publish
from redpool.testing import ScriptedServer

QUICKLY = ("--look", "0.02")
SECRET = "hunter2"


@pytest.fixture(scope="module")
def sick() -> Iterator[embedded.Server]:
    """A server that hangs up on idle clients, has few places for them, and notes slow commands with all they carry."""
    options = ("--timeout", "60", "--maxclients", "20", "--slowlog-log-slower-than", "0", "--requirepass", SECRET)
    with embedded.start(args=options) as server, client_of(server) as admin:
        admin.execute_command("ACL SETUSER", "doctor", "on", f">{SECRET}", "resetkeys", "-@all", "+ping")
        admin.set("user:1:card", "4111-1111")
        admin.keys("user:1:*")
        yield server


def client_of(server: embedded.Server) -> redis.Redis:
    return redis.Redis(host=server.host, port=server.port, password=SECRET, protocol=2)


def url_of(server: embedded.Server, user: str = "") -> str:
    return f"redis://{user}:{SECRET}@{server.host}:{server.port}"


def doctor(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str]:
    """Return the exit status of `redpool doctor` and what it printed."""
    status = main(("doctor", *argv))
    said = capsys.readouterr()
    assert said.err == ""
    assert not [secret for secret in (SECRET, "user:1", "4111") if secret in said.out]
    return status, said.out


def test_what_breaks_is_found_with_its_figures_and_status_1(
    sick: embedded.Server, capsys: pytest.CaptureFixture[str]
) -> None:
    """The JSON has each finding, what was looked at, and which rules had nothing to look at."""
    with ExitStack() as connected:
        for _ in range(16):
            connected.enter_context(client_of(sick)).ping()
        status, said = doctor(capsys, url_of(sick), *QUICKLY, "--json")
    report = json.loads(said)
    found = {each["rule"]: each for each in report["findings"]}
    assert status == 1
    assert {"S1", "S4", "S9", "A3"} <= found.keys()
    assert found["S1"]["figures"]["maxclients"] == 20
    assert found["S4"]["figures"]["timeout"] == 60
    assert found["S4"]["write"].startswith("max_idle_time=30")
    assert report["looked_at"] == [f"redis://{sick.host}:{sick.port}"]
    assert report["unseen"] == []
    assert set(report["checked"]) | set(report["unchecked"]) == set(RULES)


def test_a_text_says_what_why_and_what_to_write(sick: embedded.Server, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal there is no escape sequence."""
    status, said = doctor(capsys, url_of(sick), *QUICKLY)
    assert status == 1
    for part in (f"S4  severe  {RULES['S4'].title}", "timeout 60", "max_idle_time=30", "docs/doctor/S4.md", "severe"):
        assert part in said
    assert "\x1b" not in said


def test_what_a_user_may_not_see_is_said(sick: embedded.Server, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is found where nothing at all is told, but the status is 2: it may be as sick as this one."""
    status, said = doctor(capsys, url_of(sick, "doctor"), *QUICKLY, "--json")
    unseen = {each["what"]: each["why"] for each in json.loads(said)["unseen"]}
    assert status == 2
    assert json.loads(said)["silent"] == [f"redis://{sick.host}:{sick.port}"]
    assert {"INFO", "CONFIG GET", "CLIENT LIST", "SLOWLOG GET", "LATENCY LATEST"} <= unseen.keys()
    assert "permissions" in unseen.pop("the fleet")
    assert set(unseen.values()) == {"this user may not (ACL)"}
    _, said = doctor(capsys, url_of(sick, "doctor"), *QUICKLY)
    assert "CONFIG GET: this user may not (ACL)" in said
    assert f"Nothing is known of redis://{sick.host}:{sick.port}" in said
    _, said = doctor(capsys, url_of(sick, "doctor"), *QUICKLY, "--sarif")
    assert json.loads(said)["runs"][0]["invocations"][0]["executionSuccessful"] is False
    with client_of(sick) as admin:
        admin.execute_command("ACL SETUSER", "some", "on", f">{SECRET}", "resetkeys", "-@all", "+ping", "+slowlog")
    status, said = doctor(capsys, url_of(sick, "some"), *QUICKLY, "--json")
    assert (status, json.loads(said)["silent"]) == (0, [])


def test_a_fleet_that_was_asked_for_and_is_not_there_is_status_2(
    redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without `--fleet` there need be none."""
    assert doctor(capsys, redis_url, *QUICKLY)[0] == 0
    status, said = doctor(capsys, redis_url, "--fleet", f"{redis_url}/7", *QUICKLY)
    assert status == 2
    assert "Nothing is known of the fleet" in said
    assert "no process reports there" in said


def test_a_server_that_says_nothing_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes connections, and answers nothing."""
    monkeypatch.setattr("redpool.doctor.server._PATIENCE", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        assert main(("doctor", f"redis://:{SECRET}@127.0.0.1:{port}")) == 2
    said = capsys.readouterr()
    assert said.err.startswith(f"redpool: redis://127.0.0.1:{port}: Timeout")
    assert SECRET not in said.err


def test_the_rights_that_the_page_names_are_enough(sick: embedded.Server) -> None:
    """With them nothing is left unseen."""
    page = (Path(__file__).parents[3] / "docs" / "doctor" / "index.md").read_text(encoding="utf-8")
    (line,) = (line for line in page.splitlines() if line.startswith("ACL SETUSER doctor"))
    with client_of(sick) as admin:
        admin.execute_command(*line.replace("SETUSER doctor", "SETUSER limited").replace("password", SECRET).split())
    facts, _ = gather(url_of(sick, "limited"), seconds=0.01)
    assert facts.unseen == ()
    assert {"info", "config", "clients", "slowlog", "latency"} <= facts.known


def test_a_server_that_nothing_ails_has_status_0(redis_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What is good to know doesn't change that."""
    with redis.Redis.from_url(redis_url) as admin:
        admin.slowlog_reset()
    status, said = doctor(capsys, redis_url, *QUICKLY)
    assert status == 0
    assert "rules checked on redis://" in said


# -- pools -------------------------------------------------------------------------------------------------------------

MODULE = """
import redis, redis.asyncio, redpool, redpool.asyncio, valkey
at = {"host": "%s", "port": %d, "password": "%s"}
ours = redpool.ConnectionPool(**at, max_idle_time=600)
client = redpool.Redis(**at)
theirs = redis.BlockingConnectionPool(**at, timeout=None)
plain = redis.Redis(**at)
valkeys = valkey.Valkey(**at)
loops = redis.asyncio.Redis(**at)
own_loops = redpool.asyncio.MultiplexedConnectionPool(**at)
nothing = 3
"""


@pytest.fixture
def module(sick: embedded.Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module `shop_pools` in the current folder, with pools of all kinds."""
    monkeypatch.delitem(sys.modules, "shop_pools", raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop_pools.py").write_text(MODULE % (sick.host, sick.port, SECRET), encoding="utf-8")


@pytest.mark.usefixtures("module")
def test_pools_of_all_kinds_are_read_and_their_server_is_looked_at(sick: embedded.Server) -> None:
    """With the pool's own credentials; nothing but the URL is needed of it."""
    names = ("ours", "client", "theirs", "plain", "valkeys", "loops", "own_loops")
    facts, looked_at = gather(None, pools=[f"shop_pools:{name}" for name in names], seconds=0.01)
    assert looked_at[0] == f"redis://{sick.host}:{sick.port}"
    assert facts.server
    assert facts.server.setting("timeout") == 60
    seen = {pool.where.partition(":")[2]: pool for pool in facts.pools}
    assert [(seen[name].family, seen[name].shell, seen[name].multiplexed) for name in names] == [
        ("redpool", "threads", False),
        ("redpool", "threads", True),
        ("redis-py", "threads", False),
        ("redis-py", "threads", False),
        ("valkey-py", "threads", False),
        ("redis-py", "asyncio", False),
        ("redpool", "asyncio", True),
    ]
    assert (seen["ours"].max_idle_time, seen["theirs"].timeout, seen["plain"].waits) == (600, None, False)
    assert {rule.id for rule in RULES.values() for _ in rule.findings(facts)} >= {"S4", "P4", "P13"}


@pytest.mark.usefixtures("module")
def test_what_a_pool_has_counted_is_read(sick: embedded.Server) -> None:
    """Its leases, too: two blocked connections of three are said."""
    gather(None, pools=["shop_pools:ours"], seconds=0.01)
    pool = redpool.ConnectionPool(host=sick.host, port=sick.port, password=SECRET, max_connections=3)
    sys.modules["shop_pools"].ours = pool  # type: ignore[attr-defined]  # mypy doesn't know the module
    held = [pool.get_connection() for _ in range(2)]
    for connection in held:
        connection.send_command("BLPOP", "jobs", 30)
    facts, _ = gather(None, pools=["shop_pools:ours"], seconds=0.01)
    (seen,) = facts.pools
    assert (seen.counters["acquired"], seen.open, seen.commands) == (2, 2, ("BLPOP", "BLPOP"))
    assert "2 of the 3 connections" in str([finding.what for finding in RULES["C4"].findings(facts)])
    pool.disconnect()


def test_a_process_is_asked_what_its_pools_were_asked_for(
    redis_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its counters, its bounds and its records; no server is looked at unless one is named."""
    options: dict[str, Any] = {"max_connections": 2, "timeout": 0.0, "max_waiting": None}
    with redpool.ConnectionPool.from_url(redis_url, name="asked", **options) as pool, listen(tmp_path / "s"):
        for _ in range(150):
            with pool.connection(), pool.connection(), pytest.raises(redpool.PoolTimeout):
                pool.get_connection()
        facts, looked_at = gather(None, process=str(tmp_path / "s"), processes=7)
        _, said = doctor(capsys, "--process", str(tmp_path / "s"), "--json")
    assert looked_at == [f"process {tmp_path / 's'}"]
    (record,) = (record for (_, name), record in facts.records.items() if name == "asked")
    assert sum(arrivals.callers for arrivals in record.arrivals) >= 300
    (found,) = (each for each in RULES["P18"].findings(facts) if each.what.startswith("The queue of asked of"))
    assert found.figures["timeouts"] == 150
    assert "P18" in {each["rule"] for each in json.loads(said)["findings"]}
    with pytest.raises(BadUsage, match="no process listens"):
        gather(None, process=str(tmp_path / "s"))


# -- fleets ------------------------------------------------------------------------------------------------------------


def test_the_connections_of_a_process_that_is_gone_are_found(own_server: embedded.Server) -> None:
    """It is one of a service whose other processes report."""
    pool = redpool.ConnectionPool(host=own_server.host, port=own_server.port, max_connections=20_000)
    with redis.Redis.from_url(own_server.url) as admin, publish(pool, service="shop", url=own_server.url):
        admin.client_setname("shop/cache@elsewhere:999999")
        number = admin.client_id()
        until = time.monotonic() + 10
        while not (facts := gather(own_server.url, seconds=0.01)[0]).fleet and time.monotonic() < until:
            time.sleep(0.01)
        assert facts.fleet
        (orphan,) = RULES["C3"].findings(facts)
        (budget,) = RULES["F1"].findings(facts)
    assert orphan.what.startswith("1 connection of shop@elsewhere:999999")
    assert orphan.write == f"CLIENT KILL ID {number}"
    assert budget.figures["max_connections"] == 20_000
    pool.close()


# -- what comes from outside -------------------------------------------------------------------------------------------


def test_hostile_names_are_text(scripted: ScriptedServer, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither a control character nor markup of a client's name has an effect; a server may lack any command."""
    name = "\x1b[31mred\x07[bold]\u202e"
    lines = [f"id={n} addr=10.0.0.{n}:1 name={name} age=9 idle=400 flags=N user=u" for n in range(12)]
    info = "maxclients:12\r\nconnected_clients:12\r\n"
    scripted.answer("INFO", info.encode())
    scripted.answer("CLIENT", lambda args: "\n".join(lines).encode() if args[:1] == [b"LIST"] else 99)
    for command in ("CONFIG", "SLOWLOG", "LATENCY", "TIME", "EXISTS", "HELLO", "ZREVRANGE", "XREAD"):
        scripted.answer(command, ResponseError(f"ERR unknown command '{command}'"))
    status, said = doctor(capsys, scripted.url, *QUICKLY)
    assert status == 1
    assert r"\x1b[31mred\x07[bold]\u202e 12" in " ".join(said.split())
    assert not {"\x1b", "\x07", "\u202e"} & set(said)
    assert "CONFIG GET: this server has no such command" in said
    assert "V1  severe" in said


# -- forms, and bad usage ----------------------------------------------------------------------------------------------


def test_sarif_has_what_its_schema_asks_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each result names a rule of the run, and the place in the code, or the server."""
    (tmp_path / "views.py").write_text(
        "import redis\ndef index(request):\n    redis.Redis().get('x')\n", encoding="utf-8"
    )
    status, said = doctor(capsys, "--code", str(tmp_path), "--sarif")
    log = json.loads(said)
    (run,) = log["runs"]
    driver = run["tool"]["driver"]
    (result,) = run["results"]
    assert status == 1
    assert (log["version"], driver["name"]) == ("2.1.0", "redpool doctor")
    assert log["$schema"].endswith("sarif-2.1.0.json")
    assert [rule["id"] for rule in driver["rules"]] == list(RULES)
    assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"] == "P13"
    assert result["level"] == "error"
    assert result["message"]["text"].startswith("redis.Redis is made for each request")
    place: Any = result["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"].endswith("views.py")
    assert place["region"] == {"startLine": 3}
    assert run["invocations"][0]["executionSuccessful"] is True


def test_code_alone_needs_no_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And what is right has status 0."""
    (tmp_path / "views.py").write_text("import redis\nr = redis.Redis()\n", encoding="utf-8")
    status, said = doctor(capsys, "--code", str(tmp_path))
    assert status == 0
    assert "nothing found" in said


def test_a_rule_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    """With its page; the list has them all."""
    status, said = doctor(capsys, "--explain", "s4")
    assert status == 0
    for part in (RULES["S4"].title, "How it is seen", "celery #3932", "docs/doctor/S4.md"):
        assert part in said
    status, said = doctor(capsys, "--list")
    assert status == 0
    assert [line.split()[0] for line in said.splitlines()] == list(RULES)


@pytest.mark.usefixtures("module")
@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (("--explain", "X9"), "'X9'"),
        (("--look", "0"), "--look"),
        (("--processes", "none"), "--processes"),
        (("--json", "--sarif"), "--sarif"),
        (("--pool", "shop_pools"), "module:attribute"),
        (("--pool", "shop_pools:gone"), "no gone"),
        (("--pool", "shop_pools:nothing"), "neither a pool nor a client"),
        (("--pool", "no_such_module:pool"), "can't be imported"),
        (("--code", "no/such/folder"), "no/such/folder"),
        ((f"http://user:{SECRET}@host/x",), "'http://host/x'"),
        ((f"redis://:{SECRET}@host:{SECRET}",), "'redis://host'"),
        ((f"redis://user:hush/{SECRET}@host",), "'redis://user'"),
    ],
)
def test_bad_usage_names_the_option_and_the_value(
    argv: tuple[str, ...], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The status is 2; a password in it is not repeated."""
    with pytest.raises(SystemExit) as stop:
        main(("doctor", *argv))
    said = capsys.readouterr()
    assert stop.value.code == 2
    assert said.out == ""
    assert named in said.err
    assert SECRET not in said.err


def test_a_url_is_shown_without_what_may_be_a_password() -> None:
    """A slash in a password that isn't quoted ends the host."""
    assert without_credentials(f"redis://me:{SECRET}@host:7000/3?client_name=x") == "redis://host:7000/3"
    assert without_credentials(f"redis://me:6379/{SECRET}@host") == "redis://"


def test_a_module_that_ends_the_program_is_bad_usage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A status of 0 would say that nothing was found."""
    tmp_path.joinpath("ends_at_once.py").write_text("raise SystemExit(0)\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(("doctor", "--pool", "ends_at_once:pool"))
    assert stop.value.code == 2
    assert "can't be imported: SystemExit" in capsys.readouterr().err


def test_a_server_that_cannot_be_reached_is_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    """In one line, without the password."""
    assert main(("doctor", f"redis://:{SECRET}@127.0.0.1:1")) == 2
    said = capsys.readouterr()
    assert said.err.startswith("redpool: ")
    assert SECRET not in said.err
